import { rawKeyOf, type BatchId } from '../../../domain/batch-id.ts';
import type { DayOf } from '../../../domain/day.ts';
import { withoutItems } from '../../../pipeline/exclusions.ts';
import {
  AllItemsOverLimit,
  Unavailable,
  type Batch,
  type ChunkQueue,
  type EarlierBatch,
  type Idempotency,
  type Intake,
  type StoredBatch,
} from '../../../pipeline/ports.ts';
import { recut } from '../../../pipeline/chunks/recut.ts';
import type { CounterAdmission } from '../counters/counter-admission.ts';
import type { DynamodbBatchRecords, KeyRecord } from '../ledger/batch-records.ts';
import { keyIdOf } from '../ledger/ledger-table.ts';
import type { S3RawStore } from './raw-store.ts';
import { orUnavailable } from '../unavailable.ts';

export interface AwsIntakeOptions {
  readonly records: Pick<DynamodbBatchRecords, 'findKey' | 'claimKey' | 'isComplete' | 'complete'>;
  readonly rawStore: Pick<S3RawStore, 'put' | 'has'>;
  readonly queue: ChunkQueue;
  /** `Infinity`: as many as go into a chunk. */
  readonly itemsPerMessage: number;
  readonly admission: Pick<CounterAdmission, 'admit' | 'remember'>;
  readonly dayOf: DayOf;
  readonly makeBatchId: (now: number) => BatchId;
  readonly now: () => number;
  /** Is told why a batch was not taken, and which, if it had an id already. */
  readonly onFailure: (error: unknown, batchId: BatchId | undefined) => void;
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
 * the ledger lets each chunk be counted once, however often it is queued. Which items are excluded is
 * written with the key: all attempts at a batch exclude the same, so that they cut the same chunks.
 */
export function awsIntake(options: AwsIntakeOptions): Intake {
  const { onFailure } = options;
  return {
    async accept(batch) {
      let batchId: BatchId | undefined;
      const result = await orUnavailable(
        notTaken,
        (error) => onFailure(error, batchId),
        () => accept(options, batch, (id) => (batchId = id)).catch(asRefusal),
      );
      if (result instanceof AllItemsOverLimit) throw result;
      return result;
    },
    recall: (caller, key) =>
      orUnavailable(
        notTaken,
        (error) => onFailure(error, undefined),
        () => recall(options, caller, key),
      ),
  };
}

/** The batch is at fault, and not AWS. */
function asRefusal(error: unknown): AllItemsOverLimit {
  if (error instanceof AllItemsOverLimit) return error;
  throw error;
}

async function accept(
  options: AwsIntakeOptions,
  batch: Batch,
  onIdentity: (batchId: BatchId) => void,
): Promise<Acceptance> {
  // The id is made before anything is waited for: ids then have the order of arrival.
  const receivedAt = options.now();
  const fresh = {
    batchId: options.makeBatchId(receivedAt),
    receivedAt,
    bodySha256: batch.idempotency?.bodySha256 ?? new Uint8Array(),
    itemsPerMessage: options.itemsPerMessage,
  };
  const turn = await takeAdmittedTurn(options, batch, fresh);
  if (turn.kind === 'earlier') return { earlier: turn.batch };
  const { identity, isStored } = turn;
  onIdentity(identity.batchId);
  const taken = withoutItems(batch, options.dayOf, identity.excluded ?? []);
  const raw = {
    ...{ ...taken, ...identity },
    ...(batch.idempotency && { keyId: keyIdOf(batch.caller, batch.idempotency.key) }),
  };
  const cut = recut(raw, options.dayOf);
  if ('reason' in cut) throw new Error(`a batch reads otherwise than it just did: ${cut.reason}`);
  if (!isStored) await options.rawStore.put(raw);
  await options.queue.send(cut.chunks);
  const isFirst = await options.records.complete({ ...raw, chunks: cut.chunks.length });
  options.admission.remember(taken.increments);
  const stored = storedAs(identity);
  return isFirst && !isStored
    ? { stored }
    : { earlier: { ...stored, bodySha256: identity.bodySha256 } };
}

/**
 * A batch of which nothing would be admitted now may have been begun when there was room for it.
 * @throws {AllItemsOverLimit} where it was not.
 */
async function takeAdmittedTurn(
  options: AwsIntakeOptions,
  batch: Batch,
  fresh: KeyRecord,
): Promise<Turn> {
  try {
    const { excluded } = await options.admission.admit(batch);
    return await takeTurn(options, batch, { ...fresh, ...(excluded && { excluded }) });
  } catch (error) {
    if (!(error instanceof AllItemsOverLimit) || batch.idempotency === undefined) throw error;
    const { caller, idempotency } = batch;
    const holder = await options.records.findKey(caller, idempotency.key, options.now());
    const turn = holder && (await turnUnder(options, holder, idempotency));
    if (turn === undefined) throw error;
    return turn;
  }
}

async function takeTurn(
  options: AwsIntakeOptions,
  { caller, idempotency }: Batch,
  fresh: KeyRecord,
): Promise<Turn> {
  const { records } = options;
  if (idempotency === undefined) return { kind: 'ours', identity: fresh, isStored: false };
  let replaced: BatchId | undefined;
  for (;;) {
    const { key } = idempotency;
    const holder = await records.claimKey(caller, key, fresh, fresh.receivedAt, replaced);
    if (holder === undefined) return { kind: 'ours', identity: fresh, isStored: false };
    const turn = await turnUnder(options, holder, idempotency);
    if (turn !== undefined) return turn;
    replaced = holder.batchId;
  }
}

/** What is to be done under a key that is held; undefined where it was given up. */
async function turnUnder(
  { records, rawStore, now }: AwsIntakeOptions,
  holder: KeyRecord,
  { bodySha256 }: Idempotency,
): Promise<Turn | undefined> {
  const isSame = Buffer.compare(holder.bodySha256, bodySha256) === 0;
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
  return undefined;
}

async function recall(
  { records, now }: AwsIntakeOptions,
  caller: string,
  key: string,
): Promise<EarlierBatch | undefined> {
  const record = await records.findKey(caller, key, now());
  if (record === undefined || !(await records.isComplete(record.batchId))) return undefined;
  return { ...storedAs(record), bodySha256: record.bodySha256 };
}

function storedAs({ batchId, receivedAt, excluded }: KeyRecord): StoredBatch {
  return { batchId, receivedAt, ...(excluded && { excluded }) };
}
