import { isNestedDeeperThan } from '../../domain/fast/json-depth.ts';
import { jsonDepthMax, countEvents } from '../../domain/batch.ts';
import { readRawKey, type BatchId } from '../../domain/batch-id.ts';
import { isCarried, readCarriedBatch, type CarriedBatch } from './carried-batch.ts';
import { chunkCountersMax, chunkVersion } from './chunk.ts';
import type { Increments } from '../../domain/counter.ts';
import type { DayOf } from '../../domain/day.ts';
import { readDeviceEvent, type DeviceEvent } from '../../domain/device-event.ts';
import { recut } from './recut.ts';

/** The increments of a queue message, or why it cannot be counted. */
export type MessageReading =
  | {
      readonly kind: 'chunk';
      readonly batchId: BatchId;
      readonly index: number;
      /** Milliseconds since 1970. */
      readonly receivedAt: number;
      readonly items: number;
      readonly increments: Increments;
      /** The batch with its body, if the message carries it. */
      readonly carried?: CarriedBatch;
    }
  /** A single item, which another program put on the queue. */
  | { readonly kind: 'item'; readonly increments: Increments }
  /** `carried`: it cannot be counted, but its body must be stored. */
  | { readonly kind: 'unreadable'; readonly reason: string; readonly carried?: CarriedBatch };

/** Above the number of chunks of any body. */
const chunkIndexMax = 999_999;

/**
 * Reads the body of a queue message: a chunk from `cutIntoChunks`, a batch from `carriedMessage`, or a
 * single item `{"type","state","timestamp"}`. One invalid item makes the whole message unreadable.
 */
export function readMessage(body: string, dayOf: DayOf): MessageReading {
  const { document, reading } = readJsonObject(body);
  if (document === undefined) return reading;
  if (isCarried(document)) return readCarried(document, dayOf);
  // Items may have other members, also one with either name.
  const isChunk = 'batch_id' in document && 'items' in document;
  return isChunk ? readChunk(document, dayOf) : readItem(document, dayOf);
}

type JsonObject = Record<string, unknown>;

/** Reads a body that must be a JSON object. */
export function readJsonObject(
  body: string,
): { document: JsonObject; reading?: never } | { document?: never; reading: MessageReading } {
  if (isNestedDeeperThan(Buffer.from(body), jsonDepthMax)) {
    return { reading: unreadable('invalid_json', `nested deeper than ${jsonDepthMax} levels`) };
  }
  let document: unknown;
  try {
    document = JSON.parse(body);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { reading: unreadable('invalid_json', why) };
  }
  if (typeof document === 'object' && document !== null && !Array.isArray(document)) {
    return { document: document as JsonObject };
  }
  return { reading: unreadable('invalid_message', 'the message is neither a chunk nor an item') };
}

/** A carried batch is its only chunk. */
function readCarried(document: JsonObject, dayOf: DayOf): MessageReading {
  const reading = readCarriedBatch(document);
  if ('reason' in reading) return { kind: 'unreadable', reason: reading.reason };
  const { carried } = reading;
  const cut = recut({ ...carried, itemsPerMessage: Number.POSITIVE_INFINITY }, dayOf);
  if ('reason' in cut) return { kind: 'unreadable', reason: cut.reason, carried };
  const [chunk, ...others] = cut.chunks;
  if (chunk === undefined || others.length > 0) {
    const reason = `invalid_message: the body makes ${cut.chunks.length} chunks, not one`;
    return { kind: 'unreadable', reason, carried };
  }
  const { batchId, index, receivedAt, events } = chunk;
  const increments = countEvents(events);
  return { kind: 'chunk', batchId, index, receivedAt, items: events.length, increments, carried };
}

function readChunk(document: JsonObject, dayOf: DayOf): MessageReading {
  const { version, batch_id: batchId, index, raw_key: rawKey, items } = document;
  if (version !== chunkVersion) {
    const detail = `expected version ${chunkVersion}, not ${JSON.stringify(version)}`;
    return unreadable('unsupported_version', detail);
  }
  const batch = typeof rawKey === 'string' ? readRawKey(rawKey) : undefined;
  if (batch === undefined || batch.batchId !== batchId) {
    return unreadable('invalid_message', 'raw_key and batch_id do not identify a batch');
  }
  if (!isChunkIndex(index)) {
    return unreadable('invalid_message', `index is not a whole number from 0 to ${chunkIndexMax}`);
  }
  if (!Array.isArray(items) || items.length === 0) {
    return unreadable('invalid_message', 'the chunk has no items');
  }
  const events: DeviceEvent[] = [];
  for (const [at, item] of items.entries()) {
    const reading = readDeviceEvent(item, dayOf);
    if (!reading.valid) {
      return unreadable('invalid_item', `item ${at}: ${reading.errors[0]?.message ?? ''}`);
    }
    events.push(reading.event);
  }
  const increments = countEvents(events);
  if (countersOf(increments) > chunkCountersMax) {
    const detail = `the chunk has more than ${chunkCountersMax} counters, the limit of one transaction`;
    return unreadable('too_many_counters', detail);
  }
  return { kind: 'chunk', ...batch, index, items: events.length, increments: increments };
}

function readItem(document: JsonObject, dayOf: DayOf): MessageReading {
  const reading = readDeviceEvent(document, dayOf);
  if (reading.valid) return { kind: 'item', increments: countEvents([reading.event]) };
  return unreadable('invalid_item', reading.errors.map(({ message }) => message).join('; '));
}

function countersOf(increments: Increments): number {
  let counters = 0;
  for (const types of increments.values())
    for (const states of types.values()) counters += states.size;
  return counters;
}

export function isChunkIndex(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= chunkIndexMax;
}

function unreadable(code: string, detail: string): MessageReading {
  return { kind: 'unreadable', reason: `${code}: ${detail}` };
}
