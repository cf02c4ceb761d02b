import { cutIntoChunks, type BatchIdentity, type Chunk } from './chunk.ts';
import type { DayOf } from '../../domain/day.ts';
import { readStored, type RecountedBatch } from '../recount.ts';

/** A stored batch with the most items per message (`Infinity`: packed). */
export interface CutBatch extends BatchIdentity, RecountedBatch {
  readonly itemsPerMessage: number;
}

/**
 * Cuts a stored body into chunks. They depend only on the stored bytes and metadata, so the result
 * is always the same.
 */
export function recut(
  raw: CutBatch,
  dayOf: DayOf,
): { readonly chunks: readonly Chunk[] } | { readonly reason: string } {
  const reading = readStored(raw, dayOf);
  if ('reason' in reading) return reading;
  return { chunks: cutIntoChunks(raw, reading.events, raw.itemsPerMessage) };
}

/** Whether `counted` has all chunks from 0 to `chunks` - 1. */
export function areAllCounted(chunks: number, counted: ReadonlySet<number>): boolean {
  // Comparing sizes is not enough: other programs may have queued messages with further indexes.
  for (let index = 0; index < chunks; index++) if (!counted.has(index)) return false;
  return true;
}

const packed = 'packed';
const itemsMax = 10_000;

export function itemsPerMessageText(itemsPerMessage: number): string {
  return Number.isFinite(itemsPerMessage) ? String(itemsPerMessage) : packed;
}

/**
 * Reads `packed` or a whole number of items.
 * @throws {RangeError} for anything else.
 */
export function readItemsPerMessage(text: string): number {
  if (text === packed) return Number.POSITIVE_INFINITY;
  const items = Number(text);
  if (Number.isInteger(items) && items >= 1 && items <= itemsMax) return items;
  throw new RangeError(
    `Items per message must be ${packed} or a whole number from 1 to ${itemsMax}, got '${text}'.`,
  );
}
