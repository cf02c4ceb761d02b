import type { BatchId } from '../../../src/domain/batch-id.ts';

/**
 * The id of a batch whose message carries its body, as versions before dedup blocks made it of the id of
 * any batch: a UUIDv7 with the mark and the number of items. Its dedup record is a row of its own.
 */
export function earlierCarriedId(id: BatchId, items: number): BatchId {
  return `${id.slice(0, 19)}bf${items.toString(16).padStart(2, '0')}${id.slice(23)}`;
}
