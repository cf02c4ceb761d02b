import { rawKeyOf, type BatchId } from '../../domain/batch-id.ts';
import type { DeviceEvent } from '../../domain/device-event.ts';

/** The version of the cutting rules; a change of the rules needs a new version. */
export const chunkVersion = 1;
export const chunkBytesMax = 64 * 1024;
/** Fits into one DynamoDB transaction of 100 writes, together with dedup records. */
export const chunkCountersMax = 80;

export interface BatchIdentity {
  readonly batchId: BatchId;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  /** For a replayed batch: when it was received here; milliseconds since 1970. */
  readonly replayedAt?: number;
}

/** Some items of a batch that are counted atomically. Its identity is (batch id, index). */
export interface Chunk extends BatchIdentity {
  readonly index: number;
  readonly events: readonly DeviceEvent[];
  /** The message body: ASCII JSON. */
  readonly message: string;
}

/**
 * Cuts the accepted events of a batch, in order, into chunks of at most `chunkBytesMax` bytes,
 * `chunkCountersMax` distinct counters and `eventsMax` events. A pure function: a batch can be cut
 * into the same chunks again at any time. Without events there are no chunks.
 */
export function cutIntoChunks(
  batch: BatchIdentity,
  events: readonly DeviceEvent[],
  eventsMax = Number.POSITIVE_INFINITY,
): Chunk[] {
  const chunks: Chunk[] = [];
  let open = openChunk(batch, 0);
  for (const event of events) {
    const item = asciiJson({ type: event.type, state: event.state, timestamp: event.timestamp });
    const counter = JSON.stringify([event.date, event.type, event.state]);
    const isFull =
      open.events.length >= eventsMax ||
      open.bytes + item.length + 1 > chunkBytesMax ||
      (open.counters.size >= chunkCountersMax && !open.counters.has(counter));
    if (isFull) {
      chunks.push(closeChunk(batch, open));
      open = openChunk(batch, chunks.length);
    }
    open.events.push(event);
    open.items.push(item);
    open.counters.add(counter);
    open.bytes += item.length + 1;
  }
  if (open.events.length > 0) chunks.push(closeChunk(batch, open));
  return chunks;
}

interface OpenChunk {
  readonly index: number;
  readonly head: string;
  readonly events: DeviceEvent[];
  readonly items: string[];
  readonly counters: Set<string>;
  bytes: number;
}

const tail = ']}';

function openChunk(batch: BatchIdentity, index: number): OpenChunk {
  const envelope = asciiJson({
    version: chunkVersion,
    batch_id: batch.batchId,
    index,
    raw_key: rawKeyOf(batch.batchId, batch.receivedAt),
    received_at: new Date(batch.receivedAt).toISOString(),
  });
  const head = `${envelope.slice(0, -1)},"items":[`;
  const bytes = head.length + tail.length;
  return { index, head, events: [], items: [], counters: new Set(), bytes };
}

function closeChunk(batch: BatchIdentity, { index, head, events, items }: OpenChunk): Chunk {
  const message = head + items.join(',') + tail;
  const { batchId, receivedAt, replayedAt } = batch;
  const replayed = replayedAt === undefined ? {} : { replayedAt };
  return { batchId, receivedAt, ...replayed, index, events, message };
}

/** JSON in ASCII: as many bytes as characters, and independent of encodings. */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
