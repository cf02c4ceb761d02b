import { QueryCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { isBatchId, rawKeyOf, type BatchId } from '../../../domain/batch-id.ts';
import type { Receipts } from '../../../pipeline/ports.ts';
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

export interface LedgerReaderOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  /** How long receipts are kept, in milliseconds. */
  readonly keepMs: number;
  readonly now: () => number;
}

/** What the ledger says of a batch. */
export interface BatchProgress {
  /** Undefined while not everything of the batch is stored and queued. */
  readonly batch: Item | undefined;
  /** The items of the chunks that are counted, by the chunks' index. */
  readonly countedItems: ReadonlyMap<number, number>;
  /** The chunks of which somebody decided that they are never counted. */
  readonly dropped: ReadonlySet<number>;
  /** Whether that was decided of all of it. */
  readonly isDropped: boolean;
}

/** Receipts from the rows of the ledger. */
export function dynamodbReceipts(options: LedgerReaderOptions): Receipts {
  return {
    async find(batchId) {
      if (!isBatchId(batchId)) return undefined;
      const { batch, countedItems } = await readProgress(options, batchId);
      if (batch === undefined) return undefined;
      const receivedAt = numberOf(batch, 'received_at');
      // DynamoDB ends rows some time after their time, in any order.
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

/** Reads all rows of a batch. */
export async function readProgress(
  { client, ledgerTable }: Pick<LedgerReaderOptions, 'client' | 'ledgerTable'>,
  batchId: BatchId,
): Promise<BatchProgress> {
  let batch: Item | undefined;
  const countedItems = new Map<number, number>();
  const dropped = new Set<number>();
  let isBatchDropped = false;
  let ExclusiveStartKey: Item | undefined;
  do {
    const page = await client.send(
      new QueryCommand({
        TableName: ledgerTable,
        KeyConditionExpression: 'id = :id',
        ExpressionAttributeValues: { ':id': { S: batchKey(batchId).id } },
        ConsistentRead: true,
        ExclusiveStartKey,
      }),
    );
    for (const item of page.Items ?? []) {
      const entry = textOf(item, 'entry');
      const index = chunkIndexOf(entry);
      if (entry === batchKey(batchId).entry) batch = item;
      else if (entry === droppedBatchKey(batchId).entry) isBatchDropped = true;
      else if (index !== undefined && isDropped(item)) dropped.add(index);
      else if (index !== undefined) countedItems.set(index, numberOf(item, 'items'));
    }
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey !== undefined);
  return { batch, countedItems, dropped, isDropped: isBatchDropped };
}
