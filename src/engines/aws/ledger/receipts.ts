import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { isBatchId, rawKeyOf, readCarriedBatchId, type BatchId } from '../../../domain/batch-id.ts';
import type { Receipt, Receipts } from '../../../pipeline/ports.ts';
import { areAllCounted } from '../../../pipeline/chunks/recut.ts';
import {
  batchKey,
  chunkIndexOf,
  droppedBatchKey,
  isDropped,
  numberOf,
  textOf,
  type Item,
} from './ledger-table.ts';
import { dedupKeyOf, dedupStateIn } from './dedup-records.ts';
import { getRow, rowPages } from './items.ts';

export interface LedgerReaderOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  /** How long receipts are kept, in milliseconds. */
  readonly keepMs: number;
  readonly now: () => number;
}

/** The ledger's rows of a batch. */
interface BatchProgress {
  /** The batch row; undefined until the batch is stored and queued as a whole. */
  readonly batch: Item | undefined;
  /** The number of items of each counted chunk, by its index. */
  readonly countedItems: ReadonlyMap<number, number>;
  /** The indexes of dropped chunks. */
  readonly dropped: ReadonlySet<number>;
  /** Whether the whole batch is dropped. */
  readonly isDropped: boolean;
}

/** Receipts, read from the ledger. */
export function dynamodbReceipts(options: LedgerReaderOptions): Receipts {
  return {
    async find(batchId) {
      if (!isBatchId(batchId)) return undefined;
      const { batch, countedItems } = await readProgress(options, batchId);
      if (batch === undefined) return carriedReceipt(options, batchId, countedItems.get(0));
      const receivedAt = numberOf(batch, 'received_at');
      // DynamoDB deletes expired rows late, in any order.
      const since =
        batch['replayed_at'] === undefined ? receivedAt : numberOf(batch, 'replayed_at');
      if (since + options.keepMs <= options.now()) return undefined;
      const isCounted = areAllCounted(numberOf(batch, 'chunks'), new Set(countedItems.keys()));
      return {
        status: isCounted ? 'counted' : 'pending',
        rawKey: rawKeyOf(batchId, receivedAt),
        enqueued: numberOf(batch, 'accepted'),
        counted: [...countedItems.values()].reduce((sum, items) => sum + items, 0),
        rejected: numberOf(batch, 'rejected'),
        receivedAt,
      };
    },
  };
}

/** More than the difference between the clocks of two functions. */
const clockSkewMsMax = 3_600_000;

/**
 * The receipt of a batch whose message carries its body. It has no batch row: its id contains the
 * rest, and before the batch is counted, everything. `counted`: the number of items in its dedup
 * record, if there is one.
 */
function carriedReceipt(
  { keepMs, now }: LedgerReaderOptions,
  batchId: BatchId,
  counted: number | undefined,
): Receipt | undefined {
  const carried = readCarriedBatchId(batchId);
  if (carried === undefined) return undefined;
  const ageMs = now() - carried.receivedAt;
  if (ageMs >= keepMs || ageMs < -clockSkewMsMax) return undefined;
  const { items: enqueued, receivedAt } = carried;
  return {
    status: counted === undefined ? 'pending' : 'counted',
    rawKey: rawKeyOf(batchId, receivedAt),
    ...{ enqueued, counted: counted ?? 0, rejected: 0, receivedAt },
  };
}

/** Reads all rows of a batch, and its record in a dedup block. */
export async function readProgress(
  { client, ledgerTable }: Pick<LedgerReaderOptions, 'client' | 'ledgerTable'>,
  batchId: BatchId,
): Promise<BatchProgress> {
  let batch: Item | undefined;
  const countedItems = new Map<number, number>();
  const dropped = new Set<number>();
  let isBatchDropped = false;
  for await (const page of rowPages(client, ledgerTable, batchKey(batchId).id)) {
    for (const item of page) {
      const entry = textOf(item, 'entry');
      const index = chunkIndexOf(entry);
      if (entry === batchKey(batchId).entry) batch = item;
      else if (entry === droppedBatchKey(batchId).entry) isBatchDropped = true;
      else if (index !== undefined && isDropped(item)) dropped.add(index);
      else if (index !== undefined) countedItems.set(index, numberOf(item, 'items'));
    }
  }
  const key = dedupKeyOf(batchId, 0);
  if (key.number !== undefined) {
    const state = dedupStateIn(await getRow(client, ledgerTable, key), key);
    if (state === 'dropped') dropped.add(0);
    if (state === 'counted') countedItems.set(0, readCarriedBatchId(batchId)?.items ?? 0);
  }
  return { batch, countedItems, dropped, isDropped: isBatchDropped };
}
