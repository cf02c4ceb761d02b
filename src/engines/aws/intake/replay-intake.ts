import { rawKeyOf, readCarriedBatchId, type BatchId } from '../../../domain/batch-id.ts';
import type { DayOf } from '../../../domain/day.ts';
import { isRetryOf } from '../../../pipeline/idempotency.ts';
import {
  Unavailable,
  type ChunkQueue,
  type ReplayedBatch,
  type ReplayIntake,
  type ReplayResult,
} from '../../../pipeline/ports.ts';
import { inflate } from '../../../pipeline/inflate.ts';
import { recut } from '../../../pipeline/chunks/recut.ts';
import type { SweepProgress } from '../../../pipeline/sweep/ports.ts';
import type { DynamodbBatchRecords, KeyRecord } from '../ledger/batch-records.ts';
import { keyIdOf } from '../ledger/ledger-table.ts';
import { carriedChunk, isCarriedRecord, isGivenUp, mayBeOnItsWay } from './carried.ts';
import { attemptMsMax, notAccepted } from './intake.ts';
import type { BodyGroups } from './body-groups.ts';
import type { S3RawBatch, S3RawStore } from './raw-store.ts';
import { orUnavailable } from '../unavailable.ts';

interface AwsReplayOptions {
  readonly records: DynamodbBatchRecords;
  readonly rawStore: Pick<S3RawStore, 'put' | 'has' | 'get'>;
  readonly groups: Pick<BodyGroups, 'find'>;
  readonly queue: ChunkQueue;
  /**
   * The sweep is already past the raw keys of replayed batches, so each is recorded as an orphan
   * for it to check.
   */
  readonly orphans: Pick<SweepProgress, 'saveOrphan'>;
  /** `Infinity`: as many as fit into a chunk. */
  readonly itemsPerMessage: number;
  readonly dayOf: DayOf;
  readonly now: () => number;
  /** The shortest time for which ledger rows were ever kept, in milliseconds. */
  readonly shortestRetentionMs: () => Promise<number>;
  /**
   * Batches older than `shortestRetentionMs` minus this are not queued: their dedup records may
   * have expired.
   */
  readonly redriveMarginMs: number;
  /** Reports why a batch was not accepted. */
  readonly onFailure: (error: unknown, batchId: BatchId) => void;
}

/** The sweep checks the batch after this time. */
const sweepAfterMs = 15 * 60_000;
/** The largest inflated body on any installation. */
const bytesMax = 64 * 1024 * 1024;
const underWay =
  'A request with the same Idempotency-Key may still be in progress. Send the batch again after some minutes.';

/**
 * Accepts batches of other installations under their batch ids and raw keys. The raw object shows
 * whether a batch is here; dedup records make each of its chunks count once. The steps: the row of
 * the idempotency key, an orphan row for the sweep, the body, the messages, the batch row. The
 * replay may be interrupted after each; the next attempt, or the sweep, does the remaining steps.
 */
export function awsReplayIntake(options: AwsReplayOptions): ReplayIntake {
  return {
    replay: (batch) =>
      orUnavailable(
        notAccepted,
        (error) => options.onFailure(error, batch.origin.batchId),
        () => replay(options, batch),
      ),
  };
}

async function replay(options: AwsReplayOptions, batch: ReplayedBatch): Promise<ReplayResult> {
  const { records, rawStore } = options;
  const { origin } = batch;
  const rawKey = rawKeyOf(origin.batchId, origin.receivedAt);
  const existing = (await rawStore.has(rawKey)) ? await rawStore.get(rawKey) : undefined;
  if (existing !== undefined) return await completeStored(options, batch, existing);
  // The bucket's lifecycle rule has deleted the raw body.
  if (await records.isComplete(origin.batchId)) return { kind: 'known', batch: origin };
  // Its message carried the body, and stays on the queue until the batch is counted. The dedup
  // record may have expired.
  const carried = await options.groups.find(rawKey);
  if (carried !== undefined) {
    return isSameBody(carried, batch) ? { kind: 'known', batch: origin } : conflict(rawKey);
  }
  const replayedAt = options.now();
  const raw: S3RawBatch = {
    ...{ batchId: origin.batchId, receivedAt: origin.receivedAt, replayedAt },
    ...{ body: batch.body, encoding: batch.encoding },
    ...{ accepted: batch.accepted, rejected: batch.rejected },
    ...(origin.excluded !== undefined && { excluded: origin.excluded }),
    itemsPerMessage: itemsPerMessageOf(options, origin.batchId),
    ...(batch.idempotency && { keyId: keyIdOf(batch.caller, batch.idempotency.key) }),
  };
  const known = await claimKey(options, batch, raw);
  if (known !== undefined && known !== 'kept') return { kind: 'known', batch: known };
  await options.orphans.saveOrphan({ rawKey, attempts: 1 }, replayedAt + sweepAfterMs);
  // After such a delay another attempt may have taken the key.
  if (options.now() - replayedAt > attemptMsMax / 2) {
    throw new Unavailable('storage_failed', notAccepted);
  }
  if (!(await rawStore.put(raw, 'if-absent'))) {
    const { kind } = await completeStored(options, batch, (await rawStore.get(rawKey)) ?? raw);
    // The attempt that stored it at the same time also writes the rows.
    return kind === 'known' ? { kind: 'known', batch: origin } : conflict(rawKey);
  }
  await queueAll(options, raw, rawKey);
  return { kind: 'stored' };
}

/** A message of this stack may carry the batch, as one chunk: a second cut must be the same. */
function itemsPerMessageOf({ itemsPerMessage }: AwsReplayOptions, batchId: BatchId): number {
  return readCarriedBatchId(batchId) === undefined ? itemsPerMessage : Number.POSITIVE_INFINITY;
}

/**
 * Compares a stored raw body with the batch, and queues the chunks that an interrupted attempt may
 * have left.
 */
async function completeStored(
  options: AwsReplayOptions,
  batch: ReplayedBatch,
  raw: S3RawBatch,
): Promise<ReplayResult> {
  const { origin } = batch;
  const rawKey = rawKeyOf(origin.batchId, origin.receivedAt);
  if (!isSameBody(raw, batch)) return conflict(rawKey);
  if (await options.records.isComplete(origin.batchId)) return { kind: 'known', batch: origin };
  const ageMs = options.now() - (raw.replayedAt ?? raw.receivedAt);
  const retentionMs = await options.shortestRetentionMs();
  // The sweep completed it, and its batch row has expired.
  if (ageMs >= retentionMs) return { kind: 'known', batch: origin };
  if (ageMs >= retentionMs - options.redriveMarginMs)
    return { kind: 'undecidable', detail: undecided(rawKey) };
  await queueAll(options, raw, rawKey);
  return { kind: 'known', batch: origin };
}

async function queueAll(
  { records, queue, dayOf }: AwsReplayOptions,
  raw: S3RawBatch,
  rawKey: string,
): Promise<void> {
  const cut = recut(raw, dayOf);
  if ('reason' in cut) throw new Error(`${rawKey} cannot be cut into chunks: ${cut.reason}`);
  await queue.send(cut.chunks);
  await records.complete({ ...raw, chunks: cut.chunks.length });
}

/**
 * Claims the key for this batch. If the client has sent the same body again to this installation,
 * returns the batch of that request. A key of another body, or of a later replayed batch, is kept
 * by its batch.
 */
async function claimKey(
  options: AwsReplayOptions,
  batch: ReplayedBatch,
  raw: S3RawBatch,
): Promise<KeyRecord | 'kept' | undefined> {
  const { records, rawStore, now } = options;
  const { caller, idempotency } = batch;
  if (idempotency === undefined) return undefined;
  const { key, bodySha256 } = idempotency;
  // Another attempt at the same batch may hold the key.
  const owner = { caller, key, replaced: raw.batchId };
  return await records.claimKey(owner, { ...raw, bodySha256 }, now, async (holder) => {
    if (holder.replayedAt !== undefined) {
      return holder.receivedAt >= raw.receivedAt ? 'kept' : undefined;
    }
    if (!isRetryOf(holder, { bodySha256 })) return 'kept';
    if (await records.isComplete(holder.batchId)) return holder;
    if (isCarriedRecord(holder, batch.accepted)) {
      if (await isGivenUp(holder, options)) return undefined;
      await sendAgain(options, { ...batch, keyId: keyIdOf(caller, key) }, holder);
      return holder;
    }
    if (await rawStore.has(rawKeyOf(holder.batchId, holder.receivedAt))) return holder;
    if (now() - holder.receivedAt >= attemptMsMax) return undefined;
    throw new Unavailable('storage_failed', underWay);
  });
}

/**
 * Sends the message that carries the holder's body, as a retry of the client would: nothing shows
 * whether an earlier attempt has sent it.
 * @throws {Unavailable} if the body arrived in a form that is too large for a message
 */
async function sendAgain(
  { queue, dayOf }: AwsReplayOptions,
  { body, encoding, accepted, keyId }: ReplayedBatch & { readonly keyId: string },
  { batchId, receivedAt }: KeyRecord,
): Promise<void> {
  const raw = { batchId, receivedAt, body, encoding, accepted, rejected: 0, keyId };
  const cut = recut({ ...raw, itemsPerMessage: Number.POSITIVE_INFINITY }, dayOf);
  const chunk = 'chunks' in cut ? carriedChunk(raw, cut.chunks) : undefined;
  if (chunk === undefined) throw new Unavailable('storage_failed', mayBeOnItsWay);
  await queue.send([chunk]);
}

/** The same batch may arrive in another encoding if a gateway does not pass compressed bodies. */
function isSameBody(
  one: Pick<S3RawBatch, 'body' | 'encoding'>,
  other: Pick<ReplayedBatch, 'body' | 'encoding'>,
): boolean {
  if (one.encoding === other.encoding) return Buffer.compare(one.body, other.body) === 0;
  const [first, second] = [one, other].map((each) => inflate(each.body, each.encoding, bytesMax));
  if (first === undefined || second === undefined || 'code' in first || 'code' in second)
    return false;
  return Buffer.compare(first.body, second.body) === 0;
}

function conflict(rawKey: string): ReplayResult {
  const detail = `${rawKey} exists here with another body. Nothing was stored.`;
  return { kind: 'conflict', detail };
}

function undecided(rawKey: string): string {
  return `${rawKey} exists here and was not completely queued, but it is so old that the ledger may no longer show whether it is counted. Nothing was queued; run audit to see whether it is counted.`;
}
