import { isBatchId, type BatchId } from '../../../domain/batch-id.ts';
import { toRanges } from '../../../domain/index-ranges.ts';
import { decodeOverLimitItems } from './excluded-items.ts';
import { chunkIndexOf, isDropped, keyPrefix, type Item } from './ledger-table.ts';

/** A chunk by its identity. */
export interface ChunkId {
  readonly batchId: BatchId;
  readonly index: number;
}

/** What a row of the ledger says of what is counted. Numbers are NaN where the row has none. */
export type LedgerRow =
  | ({ readonly kind: 'mark'; readonly items: number } & ChunkId)
  /** Somebody decided that the chunk is never counted. */
  | ({ readonly kind: 'dropped_chunk' } & ChunkId)
  | { readonly kind: 'dropped_batch'; readonly batchId: BatchId }
  | {
      readonly kind: 'batch';
      readonly batchId: BatchId;
      readonly accepted: number;
      readonly rejected: number;
      readonly chunks: number;
    }
  | KeyRow
  /** A message of somebody else is counted; on which counter, where that is noted. */
  | { readonly kind: 'stranger'; readonly counter: NotedCounter | undefined };

/** Whose batch an idempotency key is. */
export interface KeyRow {
  readonly kind: 'key';
  readonly keyId: string;
  /** Empty where the row names none. */
  readonly batchId: BatchId;
  readonly receivedAt: number;
  readonly replayedAt: number | undefined;
  readonly bodySha256: Uint8Array;
  readonly itemsPerMessage: string;
  /** As `excludedText` has it. */
  readonly excluded: string;
  /** Seconds since 1970. */
  readonly expiresAt: number;
}

export interface NotedCounter {
  readonly date: string;
  readonly type: string;
  readonly state: string;
}

const batchPrefix = 'batch:';
const messagePrefix = 'message:';

/** Reads a row; undefined where it says nothing of what is counted. */
export function ledgerRowOf(item: Item): LedgerRow | undefined {
  const id = item['id']?.S ?? '';
  const entry = item['entry']?.S ?? '';
  if (id.startsWith(messagePrefix)) {
    if (entry !== 'counted' || isDropped(item)) return undefined;
    return { kind: 'stranger', counter: notedCounter(item) };
  }
  if (id.startsWith(keyPrefix)) return entry === 'key' ? keyRowOf(id, item) : undefined;
  const batchId = id.slice(batchPrefix.length);
  if (!id.startsWith(batchPrefix) || !isBatchId(batchId)) return undefined;
  const index = chunkIndexOf(entry);
  if (index !== undefined) {
    if (isDropped(item)) return { kind: 'dropped_chunk', batchId, index };
    return { kind: 'mark', batchId, index, items: numberIn(item, 'items') };
  }
  if (entry === 'dropped') return { kind: 'dropped_batch', batchId };
  if (entry !== 'batch') return undefined;
  return {
    ...{ kind: 'batch', batchId },
    accepted: numberIn(item, 'accepted'),
    rejected: numberIn(item, 'rejected'),
    chunks: numberIn(item, 'chunks'),
  };
}

function keyRowOf(id: string, item: Item): KeyRow {
  return {
    ...{ kind: 'key', keyId: id.slice(keyPrefix.length), batchId: item['batch_id']?.S ?? '' },
    receivedAt: numberIn(item, 'received_at'),
    replayedAt: item['replayed_at'] === undefined ? undefined : numberIn(item, 'replayed_at'),
    bodySha256: item['body_sha256']?.B ?? new Uint8Array(),
    itemsPerMessage: item['items_per_message']?.S ?? '',
    excluded: excludedIn(item),
    expiresAt: numberIn(item, 'expires_at'),
  };
}

/** Which items are excluded, as runs: the same text for the same items, whoever compressed them. */
export function excludedText(excluded: readonly number[] = []): string {
  return JSON.stringify(toRanges(excluded));
}

function excludedIn(item: Item): string {
  const bytes = item['excluded']?.B;
  if (bytes === undefined) return excludedText();
  try {
    return excludedText(decodeOverLimitItems(bytes));
  } catch (error) {
    // What cannot be read is as good as other items.
    return `unreadable: ${String(error)}`;
  }
}

function notedCounter(item: Item): NotedCounter | undefined {
  const [date, type, state] = [item['date']?.S, item['type']?.S, item['state']?.S];
  if (date === undefined || type === undefined || state === undefined) return undefined;
  return { date, type, state };
}

function numberIn(item: Item, name: string): number {
  return Number(item[name]?.N ?? NaN);
}
