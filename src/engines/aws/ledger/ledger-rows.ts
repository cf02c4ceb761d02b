import { isBatchId, readCarriedBatchId, type BatchId } from '../../../domain/batch-id.ts';
import { toRanges } from '../../../domain/index-ranges.ts';
import { batchesInBlock, dedupKeyOf, dedupStateIn } from './dedup-records.ts';
import { decodeOverLimitItems } from './over-limit-items.ts';
import { chunkIndexOf, isDropped, keyPrefix, type Item } from './ledger-table.ts';

/** A chunk by its identity. */
export interface ChunkId {
  readonly batchId: BatchId;
  readonly index: number;
}

/** A ledger row about counted batches, chunks or messages. Missing numbers are NaN. */
export type LedgerRow =
  | ({ readonly kind: 'dedup_record'; readonly items: number } & ChunkId)
  /** An operator dropped the chunk: it is never counted. */
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
  /** A message that another program queued is counted; earlier versions recorded no counter. */
  | { readonly kind: 'foreign_message'; readonly counter: RecordedCounter | undefined };

/** The row of an idempotency key. */
export interface KeyRow {
  readonly kind: 'key';
  readonly keyId: string;
  /** Empty if the row names none. */
  readonly batchId: BatchId;
  readonly receivedAt: number;
  readonly replayedAt: number | undefined;
  readonly bodySha256: Uint8Array;
  readonly itemsPerMessage: string;
  /** The over-limit items in the form of `overLimitText`. */
  readonly excluded: string;
  /** Seconds since 1970. */
  readonly expiresAt: number;
}

interface RecordedCounter {
  readonly date: string;
  readonly type: string;
  readonly state: string;
}

const batchPrefix = 'batch:';
const messagePrefix = 'message:';

/** Reads an item; undefined for a kind that is not about counted batches, chunks or messages. */
export function ledgerRowsOf(item: Item): LedgerRow[] {
  const batches = batchesInBlock(item);
  if (batches !== undefined) {
    return batches.map(({ batchId, isDropped }) =>
      recordInBlock(batchId, isDropped ? 'dropped' : 'counted'),
    );
  }
  const row = ledgerRowOf(item);
  return row === undefined ? [] : [row];
}

/** Reads the dedup record of a chunk from its ledger item; undefined if there is none. */
export function chunkRowOf(
  item: Item | undefined,
  { batchId, index }: ChunkId,
): LedgerRow | undefined {
  const key = dedupKeyOf(batchId, index);
  if (key.number === undefined) return item && ledgerRowOf(item);
  const state = dedupStateIn(item, key);
  return state && recordInBlock(batchId, state);
}

function recordInBlock(batchId: BatchId, state: 'counted' | 'dropped'): LedgerRow {
  if (state === 'dropped') return { kind: 'dropped_chunk', batchId, index: 0 };
  const { items = NaN } = readCarriedBatchId(batchId) ?? {};
  return { kind: 'dedup_record', batchId, index: 0, items };
}

/** Reads a row; undefined if it is of another kind. */
function ledgerRowOf(item: Item): LedgerRow | undefined {
  const id = item['id']?.S ?? '';
  const entry = item['entry']?.S ?? '';
  if (id.startsWith(messagePrefix)) {
    if (entry !== 'counted' || isDropped(item)) return undefined;
    return { kind: 'foreign_message', counter: recordedCounter(item) };
  }
  if (id.startsWith(keyPrefix)) return entry === 'key' ? keyRowOf(id, item) : undefined;
  const batchId = id.slice(batchPrefix.length);
  if (!id.startsWith(batchPrefix) || !isBatchId(batchId)) return undefined;
  const index = chunkIndexOf(entry);
  if (index !== undefined) {
    if (isDropped(item)) return { kind: 'dropped_chunk', batchId, index };
    return { kind: 'dedup_record', batchId, index, items: numberIn(item, 'items') };
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

/** The over-limit items as ranges: equal texts for equal items, however they were compressed. */
export function overLimitText(excluded: readonly number[] = []): string {
  return JSON.stringify(toRanges(excluded));
}

function excludedIn(item: Item): string {
  const bytes = item['excluded']?.B;
  if (bytes === undefined) return overLimitText();
  try {
    return overLimitText(decodeOverLimitItems(bytes));
  } catch (error) {
    // Differs from every readable text.
    return `unreadable: ${String(error)}`;
  }
}

function recordedCounter(item: Item): RecordedCounter | undefined {
  const [date, type, state] = [item['date']?.S, item['type']?.S, item['state']?.S];
  if (date === undefined || type === undefined || state === undefined) return undefined;
  return { date, type, state };
}

function numberIn(item: Item, name: string): number {
  return Number(item[name]?.N ?? NaN);
}
