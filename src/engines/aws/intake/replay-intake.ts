import { rawKeyOf, type BatchId } from '../../../domain/batch-id.ts';
import type { DayOf } from '../../../domain/day.ts';
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
import type { S3RawBatch, S3RawStore } from './raw-store.ts';
import { orUnavailable } from '../unavailable.ts';

export interface AwsReplayOptions {
  readonly records: DynamodbBatchRecords;
  readonly rawStore: Pick<S3RawStore, 'put' | 'has' | 'get'>;
  readonly queue: ChunkQueue;
  /** Rows by which the sweeper sees that what came here is queued and counted: it passed their time long ago. */
  readonly orphans: Pick<SweepProgress, 'saveOrphan'>;
  /** `Infinity`: as many as go into a chunk. */
  readonly itemsPerMessage: number;
  readonly dayOf: DayOf;
  readonly now: () => number;
  /** How long rows of the ledger live at least, in milliseconds. */
  readonly leastKeepMs: () => Promise<number>;
  /** What is older than that less this is not queued any more: its marks might be gone. */
  readonly roomMs: number;
  /** Is told why a batch was not taken. */
  readonly onFailure: (error: unknown, batchId: BatchId) => void;
}

/** As `awsIntake` has it: an attempt under way, and one that nobody takes for that any more. */
const attemptMsMax = 5 * 60_000;
/** The sweeper looks after what is still incomplete then. */
const sweepAfterMs = 15 * 60_000;
/** What a body may inflate to at most, on any installation. */
const bytesMax = 64 * 1024 * 1024;
const notTaken = 'The batch could not be stored and queued. Send it again after a moment.';
const underWay =
  'A batch with the same Idempotency-Key may be under way. Send this one again after some minutes.';

/**
 * Takes in batches of other installations, under the ids and the raw keys that they have had since
 * they were received. The raw object says whether a batch is here; the ledger lets each of its
 * chunks be counted once. Steps: the key's row, a row for the sweeper, the body, the messages, the
 * batch's row. Any of them may be the last: the next attempt, or the sweeper, does the rest.
 */
export function awsReplayIntake(options: AwsReplayOptions): ReplayIntake {
  return {
    replay: (batch) =>
      orUnavailable(
        notTaken,
        (error) => options.onFailure(error, batch.origin.batchId),
        () => replay(options, batch),
      ),
  };
}

async function replay(options: AwsReplayOptions, batch: ReplayedBatch): Promise<ReplayResult> {
  const { records, rawStore } = options;
  const { origin } = batch;
  const rawKey = rawKeyOf(origin.batchId, origin.receivedAt);
  const there = (await rawStore.has(rawKey)) ? await rawStore.get(rawKey) : undefined;
  if (there !== undefined) return await goOn(options, batch, there);
  // Its raw body was removed by the bucket's own rules.
  if (await records.isComplete(origin.batchId)) return { kind: 'known', batch: origin };
  const replayedAt = options.now();
  const raw: S3RawBatch = {
    ...{ batchId: origin.batchId, receivedAt: origin.receivedAt, replayedAt },
    ...{ body: batch.body, encoding: batch.encoding },
    ...{ accepted: batch.accepted, rejected: batch.rejected },
    ...(origin.excluded !== undefined && { excluded: origin.excluded }),
    itemsPerMessage: options.itemsPerMessage,
    ...(batch.idempotency && { keyId: keyIdOf(batch.caller, batch.idempotency.key) }),
  };
  const holder = await claimKey(options, batch, raw);
  if (holder !== undefined) return { kind: 'known', batch: holder };
  await options.orphans.saveOrphan({ rawKey, attempts: 1 }, replayedAt + sweepAfterMs);
  // One who was held up so long may have lost the key meanwhile.
  if (options.now() - replayedAt > attemptMsMax / 2) {
    throw new Unavailable('storage_failed', notTaken);
  }
  if (!(await rawStore.put(raw, 'if-absent'))) {
    const { kind } = await goOn(options, batch, (await rawStore.get(rawKey)) ?? raw);
    // Who stored it in the same moment may have kept the row too.
    return kind === 'known' ? { kind: 'known', batch: origin } : conflict(rawKey);
  }
  await queueAll(options, raw, rawKey);
  return { kind: 'stored' };
}

/** A batch whose raw body is here: is it the same, and was all of it queued? */
async function goOn(
  options: AwsReplayOptions,
  batch: ReplayedBatch,
  raw: S3RawBatch,
): Promise<ReplayResult> {
  const { origin } = batch;
  const rawKey = rawKeyOf(origin.batchId, origin.receivedAt);
  if (!isSameBody(raw, batch)) return conflict(rawKey);
  if (await options.records.isComplete(origin.batchId)) return { kind: 'known', batch: origin };
  const ageMs = options.now() - (raw.replayedAt ?? raw.receivedAt);
  const leastMs = await options.leastKeepMs();
  // By then the sweeper had completed it, and the row that said so has ended.
  if (ageMs >= leastMs) return { kind: 'known', batch: origin };
  if (ageMs >= leastMs - options.roomMs) return { kind: 'undecidable', detail: undecided(rawKey) };
  await queueAll(options, raw, rawKey);
  return { kind: 'known', batch: origin };
}

async function queueAll(
  { records, queue, dayOf }: AwsReplayOptions,
  raw: S3RawBatch,
  rawKey: string,
): Promise<void> {
  const cut = recut(raw, dayOf);
  if ('reason' in cut) throw new Error(`${rawKey} reads otherwise than it did: ${cut.reason}`);
  await queue.send(cut.chunks);
  await records.complete({ ...raw, chunks: cut.chunks.length });
}

/**
 * Makes the key that of this batch; returns the batch under which its
 * client has sent it again, here, if that is so. A key of another body, or of a later batch from
 * elsewhere, stays with that.
 */
async function claimKey(
  { records, rawStore, now }: AwsReplayOptions,
  { caller, idempotency }: ReplayedBatch,
  raw: S3RawBatch,
): Promise<KeyRecord | undefined> {
  if (idempotency === undefined) return undefined;
  const { key, bodySha256 } = idempotency;
  // Another attempt at this very batch may hold it.
  let replaced: BatchId = raw.batchId;
  for (;;) {
    const record = { ...raw, bodySha256 };
    const holder = await records.claimKey(caller, key, record, now(), replaced);
    if (holder === undefined) return undefined;
    if (holder.replayedAt !== undefined) {
      if (holder.receivedAt >= raw.receivedAt) return undefined;
    } else {
      if (Buffer.compare(holder.bodySha256, bodySha256) !== 0) return undefined;
      const heldKey = rawKeyOf(holder.batchId, holder.receivedAt);
      if ((await records.isComplete(holder.batchId)) || (await rawStore.has(heldKey)))
        return holder;
      if (now() - holder.receivedAt < attemptMsMax) {
        throw new Unavailable('storage_failed', underWay);
      }
    }
    replaced = holder.batchId;
  }
}

/** A gateway that loses compressed bodies has the same batch come without its encoding. */
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
  const detail = `${rawKey} is here already, with another body. Nothing was stored.`;
  return { kind: 'conflict', detail };
}

function undecided(rawKey: string): string {
  return `${rawKey} is here, was not wholly queued, and is so old that what was counted of it may not be known any more. Nothing was queued; audit tells whether it is counted.`;
}
