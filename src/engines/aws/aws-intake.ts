import { rawKeyOf, type BatchId } from '../../domain/batch-id.ts';
import type { DayOf } from '../../domain/day.ts';
import {
  Unavailable,
  type Batch,
  type ChunkQueue,
  type EarlierBatch,
  type Intake,
} from '../../pipeline/ports.ts';
import { recut } from '../../pipeline/recut.ts';
import type { DynamodbBatchRecords, KeyRecord } from './dynamodb-batch-records.ts';
import type { S3RawStore } from './s3-raw-store.ts';
import { orUnavailable } from './unavailable.ts';

export interface AwsIntakeOptions {
  readonly records: DynamodbBatchRecords;
  readonly rawStore: Pick<S3RawStore, 'put' | 'has'>;
  readonly queue: ChunkQueue;
  /** `Infinity`: as many as go into a chunk. */
  readonly itemsPerMessage: number;
  readonly dayOf: DayOf;
  readonly makeBatchId: (now: number) => BatchId;
  readonly now: () => number;
  /** Is told why a batch was not taken. */
  readonly onFailure: (error: unknown) => void;
}

/**
 * An attempt may go on with what another one began as long as that is so recent: its own function
 * ends within half a minute, well before
 */
const joinedMsMax = 3 * 60_000;
/**
 * anybody takes it for ended and begins anew. Between the two nobody does anything, so that no body
 * is stored under an identity that was given up; and the sweeper looks at a batch later than that.
 */
const attemptMsMax = 5 * 60_000;

const notYet =
  'An earlier attempt at this batch may still be under way. Send it again after some minutes.';
const notTaken = 'The batch could not be stored and queued. Send it again after a moment.';

/** How a batch stands to what came before under its key. */
type Turn =
  /** `isStored`: its body is there, from an attempt that did not come to its end. */
  | { readonly kind: 'ours'; readonly identity: KeyRecord; readonly isStored: boolean }
  | { readonly kind: 'earlier'; readonly batch: EarlierBatch };

type Acceptance = Awaited<ReturnType<Intake['accept']>>;

/**
 * Takes a batch in by steps any of which may be the last one: the key's row, the body into S3, the
 * chunks onto the queue, the batch's row. Nothing is queued before the body is stored. What is
 * stored and not wholly queued is completed by a retry under the same key, or else by the sweeper;
 * the ledger lets each chunk be counted once, however often it is queued.
 */
export function awsIntake(options: AwsIntakeOptions): Intake {
  const guarded = <T>(act: () => Promise<T>) => orUnavailable(notTaken, options.onFailure, act);
  return {
    accept: (batch) => guarded(() => accept(options, batch)),
    recall: (caller, key) => guarded(() => recall(options, caller, key)),
  };
}

async function accept(options: AwsIntakeOptions, batch: Batch): Promise<Acceptance> {
  // The id is made before anything is waited for: ids then have the order of arrival.
  const receivedAt = options.now();
  const fresh = {
    batchId: options.makeBatchId(receivedAt),
    receivedAt,
    bodySha256: batch.idempotency?.bodySha256 ?? new Uint8Array(),
    itemsPerMessage: options.itemsPerMessage,
  };
  const turn = await takeTurn(options, batch, fresh);
  if (turn.kind === 'earlier') return { earlier: turn.batch };
  const { identity, isStored } = turn;
  const raw = { ...batch, ...identity };
  const cut = recut(raw, options.dayOf);
  if ('reason' in cut) throw new Error(`a batch reads otherwise than it just did: ${cut.reason}`);
  if (!isStored) await options.rawStore.put(raw);
  await options.queue.send(cut.chunks);
  const isFirst = await options.records.complete({ ...raw, chunks: cut.chunks.length });
  const { batchId, bodySha256 } = identity;
  return isFirst && !isStored
    ? { stored: { batchId, receivedAt: identity.receivedAt } }
    : { earlier: { batchId, receivedAt: identity.receivedAt, bodySha256 } };
}

async function takeTurn(
  { records, rawStore, now }: AwsIntakeOptions,
  { caller, idempotency }: Batch,
  fresh: KeyRecord,
): Promise<Turn> {
  if (idempotency === undefined) return { kind: 'ours', identity: fresh, isStored: false };
  let replaced: BatchId | undefined;
  for (;;) {
    const { key } = idempotency;
    const holder = await records.claimKey(caller, key, fresh, fresh.receivedAt, replaced);
    if (holder === undefined) return { kind: 'ours', identity: fresh, isStored: false };
    const isSame = Buffer.compare(holder.bodySha256, idempotency.bodySha256) === 0;
    if (!isSame || (await records.isComplete(holder.batchId))) {
      return { kind: 'earlier', batch: holder };
    }
    const isStored = await rawStore.has(rawKeyOf(holder.batchId, holder.receivedAt));
    // By the clock as it is now: what was asked may have taken its time.
    const ageMs = now() - (holder.replayedAt ?? holder.receivedAt);
    // Who brings a batch from elsewhere knows what was accepted of it there: nobody joins in.
    const isJoined = ageMs < joinedMsMax && holder.replayedAt === undefined;
    if (isStored || isJoined) return { kind: 'ours', identity: holder, isStored };
    if (ageMs < attemptMsMax) throw new Unavailable('storage_failed', notYet);
    // Its attempt ended before the body was stored, and the sweeper is past its time: stored under
    // that time now, it would not be looked after. Nothing of it was queued; it may have a new one.
    replaced = holder.batchId;
  }
}

async function recall(
  { records, now }: AwsIntakeOptions,
  caller: string,
  key: string,
): Promise<EarlierBatch | undefined> {
  const record = await records.findKey(caller, key, now());
  if (record === undefined || !(await records.isComplete(record.batchId))) return undefined;
  const { batchId, receivedAt, bodySha256 } = record;
  return { batchId, receivedAt, bodySha256 };
}
