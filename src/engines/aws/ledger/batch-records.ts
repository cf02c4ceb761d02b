import {
  ConditionalCheckFailedException,
  GetItemCommand,
  PutItemCommand,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';

import type { BatchId } from '../../../domain/batch-id.ts';
import type { BatchIdentity } from '../../../pipeline/chunks/chunk.ts';
import type { EarlierBatch } from '../../../pipeline/ports.ts';
import { itemsPerMessageText, readItemsPerMessage } from '../../../pipeline/chunks/recut.ts';
import { decodeOverLimitItems, encodeOverLimitItems } from './excluded-items.ts';
import {
  batchKey,
  expiry,
  idempotencyKey,
  keyIdOf,
  keyItem,
  numberOf,
  textOf,
  type Item,
  type LedgerKey,
} from './ledger-table.ts';

export interface BatchRecordsOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  /** How long receipts and idempotency keys are kept, in milliseconds. */
  readonly keepMs: number;
}

/** What a key stands for; which items are excluded is so fixed for all attempts at the batch. */
export interface KeyRecord extends EarlierBatch {
  /** When the batch came here from another installation, if it did; milliseconds since 1970. */
  readonly replayedAt?: number;
  readonly itemsPerMessage: number;
}

/** A batch all of which is stored and queued. */
export interface BatchRecord extends BatchIdentity {
  readonly accepted: number;
  readonly rejected: number;
  readonly chunks: number;
  /** When a sweep queued it, if its intake was cut off; milliseconds since 1970. */
  readonly queuedAt?: number;
}

/**
 * When a key may be given to a batch: `:expired` is the time (ms) up to which keys are forgotten,
 * `:replaced` a batch that may be written over.
 */
export const isKeyFree =
  'attribute_not_exists(id) OR batch_id = :replaced OR replayed_at <= :expired OR (attribute_not_exists(replayed_at) AND received_at <= :expired)';

/** The rows that say whose batch an idempotency key is, and which batches are stored and queued. */
export class DynamodbBatchRecords {
  readonly #options: BatchRecordsOptions;

  constructor(options: BatchRecordsOptions) {
    this.#options = options;
  }

  /** The batch of the caller's key, if the key is still kept. */
  async findKey(caller: string, key: string, now: number): Promise<KeyRecord | undefined> {
    const record = readKey(await this.#get(keyOf(caller, key)));
    const isKept = record !== undefined && keptSince(record) + this.#options.keepMs > now;
    return isKept ? record : undefined;
  }

  /**
   * Gives the key to the batch, unless it is another's: then returns that one. `replaced` may be
   * written over too.
   */
  async claimKey(
    caller: string,
    key: string,
    record: KeyRecord,
    now: number,
    replaced?: BatchId,
  ): Promise<KeyRecord | undefined> {
    const { client, ledgerTable, keepMs } = this.#options;
    try {
      await client.send(
        new PutItemCommand({
          TableName: ledgerTable,
          Item: keyRow(keyOf(caller, key), record, keepMs),
          // DynamoDB ends a row some time after its time: until then it may be written over.
          ConditionExpression: isKeyFree,
          ExpressionAttributeValues: {
            ':expired': { N: String(now - keepMs) },
            ':replaced': { S: replaced ?? '-' },
          },
          ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
        }),
      );
      return undefined;
    } catch (error) {
      if (!(error instanceof ConditionalCheckFailedException)) throw error;
      const holder = readKey(error.Item ?? (await this.#get(keyOf(caller, key))));
      // Where it has ended in this moment, the key is free.
      return holder ?? (await this.claimKey(caller, key, record, now, replaced));
    }
  }

  /** Whether all of the batch is stored and queued. */
  async isComplete(batchId: BatchId): Promise<boolean> {
    return (await this.#get(batchKey(batchId))) !== undefined;
  }

  /** When the batch came, as long as that is remembered. */
  async receivedAt(batchId: BatchId): Promise<number | undefined> {
    const record = await this.#get(batchKey(batchId));
    return record && numberOf(record, 'received_at');
  }

  /** Says that all of it is stored and queued; false where that was said before. */
  async complete(record: BatchRecord): Promise<boolean> {
    const { client, ledgerTable, keepMs } = this.#options;
    try {
      await client.send(
        new PutItemCommand({
          TableName: ledgerTable,
          Item: {
            ...keyItem(batchKey(record.batchId)),
            received_at: { N: String(record.receivedAt) },
            accepted: { N: String(record.accepted) },
            rejected: { N: String(record.rejected) },
            chunks: { N: String(record.chunks) },
            ...replayedAtOf(record),
            ...(record.queuedAt !== undefined && { queued_at: { N: String(record.queuedAt) } }),
            expires_at: expiry(keptSince(record) + keepMs),
          },
          ConditionExpression: 'attribute_not_exists(id)',
        }),
      );
      return true;
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return false;
      throw error;
    }
  }

  async #get(key: LedgerKey): Promise<Item | undefined> {
    const { client, ledgerTable } = this.#options;
    const request = { TableName: ledgerTable, Key: keyItem(key), ConsistentRead: true };
    return (await client.send(new GetItemCommand(request))).Item;
  }
}

function keyOf(caller: string, key: string): LedgerKey {
  return idempotencyKey(keyIdOf(caller, key));
}

/** The row of a key that is the batch's. */
export function keyRow(key: LedgerKey, record: KeyRecord, keepMs: number): Item {
  const { excluded = [] } = record;
  return {
    ...keyItem(key),
    batch_id: { S: record.batchId },
    received_at: { N: String(record.receivedAt) },
    body_sha256: { B: record.bodySha256 },
    items_per_message: { S: itemsPerMessageText(record.itemsPerMessage) },
    ...(excluded.length > 0 && { excluded: { B: encodeOverLimitItems(excluded) } }),
    ...replayedAtOf(record),
    expires_at: expiry(keptSince(record) + keepMs),
  };
}

/**
 * From when on the rows of a batch are kept. For one from another installation that is its coming
 * here: of the clock of the other side nothing is known.
 */
function keptSince({
  replayedAt,
  receivedAt,
}: Pick<KeyRecord, 'replayedAt' | 'receivedAt'>): number {
  return replayedAt ?? receivedAt;
}

function replayedAtOf({ replayedAt }: { readonly replayedAt?: number }): Item {
  return replayedAt === undefined ? {} : { replayed_at: { N: String(replayedAt) } };
}

function readKey(item: Item | undefined): KeyRecord | undefined {
  if (item === undefined) return undefined;
  const excluded = item['excluded']?.B;
  return {
    batchId: textOf(item, 'batch_id'),
    receivedAt: numberOf(item, 'received_at'),
    ...(item['replayed_at'] !== undefined && { replayedAt: numberOf(item, 'replayed_at') }),
    bodySha256: Buffer.from(item['body_sha256']?.B ?? []),
    itemsPerMessage: readItemsPerMessage(textOf(item, 'items_per_message')),
    ...(excluded !== undefined && { excluded: decodeOverLimitItems(excluded) }),
  };
}
