import { cutIntoChunks, type BatchIdentity, type Chunk } from './chunk.ts';
import type { DayOf } from '../../domain/day.ts';
import { readStored, type RecountedBatch } from '../recount.ts';

/** A stored batch, and how many of its items go into a message at most (`Infinity`: packed). */
export interface CutBatch extends BatchIdentity, RecountedBatch {
  readonly itemsPerMessage: number;
}

/**
 * Cuts a stored body into its chunks: the same ones whenever it is done, by whom it is done, since
 * they depend on the stored bytes and what is stored with them alone.
 */
export function recut(
  raw: CutBatch,
  dayOf: DayOf,
): { readonly chunks: readonly Chunk[] } | { readonly reason: string } {
  const reading = readStored(raw, dayOf);
  if ('reason' in reading) return reading;
  return { chunks: cutIntoChunks(raw, reading.events, raw.itemsPerMessage) };
}

/** Whether the chunks from 0 on, so many, are all among those that are counted. */
export function areAllCounted(chunks: number, counted: ReadonlySet<number>): boolean {
  // Others may have queued what calls itself a chunk of the batch: how many there are says nothing.
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
    `Items per message must be ${packed} or a whole number from 1 to ${itemsMax}, not ${JSON.stringify(text)}.`,
  );
}
