import { readCarriedBatchId, type BatchId } from '../../../domain/batch-id.ts';
import type { DayOf } from '../../../domain/day.ts';
import { dayMs } from '../../../domain/timestamp.ts';
import {
  carriedBytesMax,
  carriedMessage,
  mayBeCarried,
  type CarriedBatch,
} from '../../../pipeline/chunks/carried-batch.ts';
import type { BatchIdentity, Chunk } from '../../../pipeline/chunks/chunk.ts';
import { recut } from '../../../pipeline/chunks/recut.ts';
import { inflate } from '../../../pipeline/inflate.ts';
import { Unavailable, type Batch } from '../../../pipeline/ports.ts';
import type { KeyRecord } from '../ledger/batch-records.ts';
import { redriveMarginMs } from '../ledger/settings.ts';

/*
 * The intake of a small batch whose message carries its body. The batch id encodes this: retries and later steps rely on the id, not on the current setting.
 */

export const mayBeOnItsWay =
  'An earlier attempt at this batch may still be counted. Send it again after a day.';
/** One invocation inflates and parses hundreds of bodies. */
const inflatedBytesMax = 4 * carriedBytesMax;
/** More than the difference between the clocks of two functions. */
const clockSkewMsMax = 3_600_000;

type Identity = Pick<KeyRecord, 'batchId' | 'receivedAt' | 'itemsPerMessage'>;

/** Whether one message can carry the batch. */
export function fitsIntoOneMessage(batch: Batch, identity: Identity, dayOf: DayOf): boolean {
  if (!mayBeCarried(batch, identity.itemsPerMessage) || !fitsMessage(batch)) return false;
  const cut = recut({ ...batch, ...identity }, dayOf);
  return 'chunks' in cut && cut.chunks.length === 1;
}

/**
 * The identity of a batch whose message carries its body: its id alone contains its time of
 * receipt.
 */
export function carriedIdentity(batchId: BatchId): Identity {
  const { receivedAt = NaN } = readCarriedBatchId(batchId) ?? {};
  return { batchId, receivedAt, itemsPerMessage: Number.POSITIVE_INFINITY };
}

/** The chunk of such a batch, with its body; undefined for other batches. */
export function carriedChunk(
  raw: Pick<CarriedBatch, 'body' | 'encoding' | 'keyId'> & BatchIdentity & { accepted: number },
  chunks: readonly Chunk[],
): Chunk | undefined {
  const [chunk, ...others] = chunks;
  if (!isCarriedBatch(raw, raw.accepted) || chunk === undefined || others.length > 0) {
    return undefined;
  }
  // A retry without compression may be too large for a message: it goes through the four steps.
  if (!fitsMessage(raw)) return undefined;
  return { ...chunk, message: carriedMessage({ ...raw, rejected: 0 }) };
}

function fitsMessage({ body, encoding }: Pick<CarriedBatch, 'body' | 'encoding'>): boolean {
  return body.length <= carriedBytesMax && !('code' in inflate(body, encoding, inflatedBytesMax));
}

/** Whether the record of a key is that of a carried batch. A replayed one has an object. */
export function isCarriedRecord(record: KeyRecord, accepted: number): boolean {
  return record.replayedAt === undefined && isCarriedBatch(record, accepted);
}

/**
 * Whether an uncounted batch whose message carries its body can no longer be counted, so that a
 * retry may begin another. Until then, its message may be on the queue or among the dead letters,
 * however old. @throws {Unavailable} around the time when that changes.
 */
export async function isGivenUp(
  { receivedAt }: KeyRecord,
  { now, shortestRetentionMs }: { now: () => number; shortestRetentionMs: () => Promise<number> },
): Promise<boolean> {
  const ageMs = now() - receivedAt;
  if (ageMs < dayMs) return false;
  const countedMsMax = (await shortestRetentionMs()) - redriveMarginMs;
  if (ageMs < countedMsMax - dayMs) return false;
  if (ageMs > countedMsMax + clockSkewMsMax) return true;
  throw new Unavailable('storage_failed', mayBeOnItsWay);
}

/**
 * Whether the id has the carried-batch marker and its fields are consistent: one id in 64 of
 * versions before carried batches has the marker by chance.
 */
function isCarriedBatch(
  { batchId, receivedAt }: Pick<Identity, 'batchId' | 'receivedAt'>,
  accepted: number,
): boolean {
  const known = readCarriedBatchId(batchId);
  return known?.items === accepted && known.receivedAt === receivedAt;
}
