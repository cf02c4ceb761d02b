import { rawKeyOf, type BatchId, type BatchIdMaker } from '../../../domain/batch-id.ts';
import type { DayOf } from '../../../domain/day.ts';
import { withoutItems } from '../../../pipeline/exclusions.ts';
import { isRetryOf } from '../../../pipeline/idempotency.ts';
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
import {
  carriedChunk,
  carriedIdentity,
  isCarriedRecord,
  isGivenUp,
  fitsIntoOneMessage,
} from './carried.ts';
import type { CounterAdmission } from '../counters/counter-admission.ts';
import type { DynamodbBatchRecords, KeyRecord } from '../ledger/batch-records.ts';
import { keyIdOf } from '../ledger/ledger-table.ts';
import type { S3RawStore } from './raw-store.ts';
import { orUnavailable } from '../unavailable.ts';

export interface AwsIntakeOptions {
  readonly records: Pick<DynamodbBatchRecords, 'findKey' | 'claimKey' | 'isComplete' | 'complete'>;
  readonly rawStore: Pick<S3RawStore, 'put' | 'has'>;
  readonly queue: ChunkQueue;
  /** `Infinity`: as many as fit into a chunk. */
  readonly itemsPerMessage: number;
  /** Whether the message of a small batch carries its body, which then has no object of its own. */
  readonly carriesBodies: boolean;
  /** The shortest time for which ledger rows were ever kept, in milliseconds. */
  readonly shortestRetentionMs: () => Promise<number>;
  readonly admission: Pick<CounterAdmission, 'admit' | 'addKnown'>;
  readonly dayOf: DayOf;
  readonly makeBatchId: BatchIdMaker;
  readonly now: () => number;
  /** Reports why a batch was not accepted, with its id if it had one already. */
  readonly onFailure: (error: unknown, batchId: BatchId | undefined) => void;
}

/**
 * While an attempt is younger than this, a retry joins it under its batch id. A function ends within
 * half a minute, so that the retry is through before `attemptMsMax`.
 */
const joinedMsMax = 3 * 60_000;
/**
 * From this age on an attempt without a stored body counts as ended, and a retry replaces it with a
 * new batch id. Between the two ages a retry is refused, so that no body is stored under a replaced
 * id. The sweep checks a batch later than that.
 */
export const attemptMsMax = 5 * 60_000;

const notYet =
  'An earlier attempt at this batch may still be in progress. Send it again after some minutes.';
export const notAccepted =
  'The batch could not be stored and queued. Send it again after a moment.';

/** Whether this attempt stores the batch, or an earlier one did. */
type Claim =
  /** `isJoined`: an interrupted attempt began it; `isStored`: and has stored the body. */
  | {
      readonly kind: 'ours';
      readonly identity: KeyRecord;
      readonly isJoined: boolean;
      readonly isStored: boolean;
    }
  | { readonly kind: 'earlier'; readonly batch: EarlierBatch };

type Acceptance = Awaited<ReturnType<Intake['accept']>>;

/**
 * The intake on AWS. It accepts a batch in four steps, and may be interrupted after each: the row of
 * the idempotency key, the body in S3, the chunks on the queue, the batch row. Nothing is queued
 * before the body is stored. A retry under the same key completes an interrupted intake, or else the
 * sweep does; dedup records make each chunk count once, however often it is queued. The key's row
 * also holds the over-limit items, so that all attempts at a batch cut the same chunks.
 *
 * With `carriesBodies`, the second step of a small batch is its last: its only message carries the body
 * (`carried.ts`).
 */
export function awsIntake(options: AwsIntakeOptions): Intake {
  const { onFailure } = options;
  return {
    accept(batch) {
      let batchId: BatchId | undefined;
      return orUnavailable(
        notAccepted,
        (error) => onFailure(error, batchId),
        () => accept(options, batch, (id) => (batchId = id)),
      );
    },
    recall: (caller, key) =>
      orUnavailable(
        notAccepted,
        (error) => onFailure(error, undefined),
        () => recall(options, caller, key),
      ),
  };
}

async function accept(
  options: AwsIntakeOptions,
  batch: Batch,
  onIdentity: (batchId: BatchId) => void,
): Promise<Acceptance> {
  // The id is created before the first await: ids then have the order of arrival.
  const claim = await claimAdmitted(options, batch, freshRecord(options, batch));
  if (claim.kind === 'earlier') return { earlier: claim.batch };
  const { identity, isJoined, isStored } = claim;
  onIdentity(identity.batchId);
  const accepted = withoutItems(batch, options.dayOf, identity.excluded ?? []);
  const raw = {
    ...{ ...accepted, ...identity },
    ...(batch.idempotency && { keyId: keyIdOf(batch.caller, batch.idempotency.key) }),
  };
  const cut = recut(raw, options.dayOf);
  if ('reason' in cut)
    throw new Error(`an accepted batch cannot be cut into chunks: ${cut.reason}`);
  const stored = storedAs(identity);
  const earlier = { earlier: { ...stored, bodySha256: identity.bodySha256 } };
  const carried = carriedChunk(raw, cut.chunks);
  if (carried !== undefined) {
    await options.queue.send([carried]);
    options.admission.addKnown(accepted.increments);
    return isJoined ? earlier : { stored };
  }
  if (!isStored) await options.rawStore.put(raw);
  await options.queue.send(cut.chunks);
  const isFirst = await options.records.complete({ ...raw, chunks: cut.chunks.length });
  options.admission.addKnown(accepted.increments);
  return isFirst && !isStored ? { stored } : earlier;
}

/** The identity of a batch that no earlier attempt has begun. */
function freshRecord(options: AwsIntakeOptions, batch: Batch): KeyRecord {
  const { makeBatchId, itemsPerMessage, dayOf } = options;
  const now = options.now();
  const identity = { batchId: makeBatchId(now), receivedAt: now, itemsPerMessage };
  const isCarried = options.carriesBodies && fitsIntoOneMessage(batch, identity, dayOf);
  const bodySha256 = batch.idempotency?.bodySha256 ?? new Uint8Array();
  const carried = () => carriedIdentity(makeBatchId(now, batch.accepted));
  return { ...(isCarried ? carried() : identity), bodySha256 };
}

/**
 * Claims the key after the admission. If the day's limit admits nothing of the batch now, an earlier
 * attempt may have been admitted.
 * @throws {AllItemsOverLimit} if there was none.
 */
async function claimAdmitted(
  options: AwsIntakeOptions,
  batch: Batch,
  fresh: KeyRecord,
): Promise<Claim> {
  try {
    const { excluded } = await options.admission.admit(batch);
    // A message that carries its body has no room for a list of over-limit items.
    const record = excluded
      ? { ...freshRecord({ ...options, carriesBodies: false }, batch), excluded }
      : fresh;
    return await claimKey(options, batch, record);
  } catch (error) {
    if (!(error instanceof AllItemsOverLimit) || batch.idempotency === undefined) throw error;
    const { caller, idempotency } = batch;
    const holder = await options.records.findKey(caller, idempotency.key, options.now());
    const claim = holder && (await claimHeld(options, holder, { ...batch, idempotency }));
    if (claim === undefined) throw error;
    return claim;
  }
}

async function claimKey(options: AwsIntakeOptions, batch: Batch, fresh: KeyRecord): Promise<Claim> {
  const { caller, idempotency } = batch;
  const claim =
    idempotency &&
    (await options.records.claimKey(
      { caller, key: idempotency.key },
      fresh,
      () => fresh.receivedAt,
      (holder) => claimHeld(options, holder, { ...batch, idempotency }),
    ));
  return claim ?? { kind: 'ours', identity: fresh, isJoined: false, isStored: false };
}

/** Joins the attempt that holds the key; undefined if that attempt has ended. */
async function claimHeld(
  options: AwsIntakeOptions,
  holder: KeyRecord,
  { idempotency, accepted }: { readonly idempotency: Idempotency; readonly accepted: number },
): Promise<Claim | undefined> {
  const { records, rawStore, now } = options;
  if (!isRetryOf(holder, idempotency) || (await records.isComplete(holder.batchId))) {
    return { kind: 'earlier', batch: holder };
  }
  const ours = { kind: 'ours', identity: holder, isJoined: true } as const;
  if (isCarriedRecord(holder, accepted)) {
    return (await isGivenUp(holder, options)) ? undefined : { ...ours, isStored: false };
  }
  const isStored = await rawStore.has(rawKeyOf(holder.batchId, holder.receivedAt));
  // The current time: the requests above may have taken long.
  const ageMs = now() - (holder.replayedAt ?? holder.receivedAt);
  // A retry cannot join a replay, which has its own numbers of accepted items.
  const isJoined = ageMs < joinedMsMax && holder.replayedAt === undefined;
  if (isStored || isJoined) return { ...ours, isStored };
  if (ageMs < attemptMsMax) throw new Unavailable('storage_failed', notYet);
  // The attempt ended before it stored the body, and queued nothing. The sweep has passed its time of
  // receipt and would not check a body that is stored under it now: the batch needs a new identity.
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
