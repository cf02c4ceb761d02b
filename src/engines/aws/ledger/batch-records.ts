import {
  ConditionalCheckFailedException,
  PutItemCommand,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';

import { readCarriedBatchId, type BatchId } from '../../../domain/batch-id.ts';
import type { BatchIdentity } from '../../../pipeline/chunks/chunk.ts';
import type { EarlierBatch } from '../../../pipeline/ports.ts';
import { itemsPerMessageText, readItemsPerMessage } from '../../../pipeline/chunks/recut.ts';
import { decodeOverLimitItems, encodeOverLimitItems } from './over-limit-items.ts';
import { dedupKeyOf, dedupStateIn } from './dedup-records.ts';
import { getRow, ifNew, putRow } from './items.ts';
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

interface BatchRecordsOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  /** How long receipts and idempotency keys are kept, in milliseconds. */
  readonly keepMs: number;
}

/** The batch of an idempotency key. It fixes the over-limit items for all attempts at the batch. */
export interface KeyRecord extends EarlierBatch {
  /** When a replayed batch arrived here; milliseconds since 1970. */
  readonly replayedAt?: number;
  readonly itemsPerMessage: number;
}

/** A batch that is completely stored and queued. */
interface BatchRecord extends BatchIdentity {
  readonly accepted: number;
  readonly rejected: number;
  readonly chunks: number;
  /**
   * When a sweep completed the interrupted intake of the batch, if one did; milliseconds since
   * 1970.
   */
  readonly queuedAt?: number;
}

/**
 * The condition on which a batch may take a key. Keys up to `:expired` (milliseconds since 1970) have
 * expired; the batch `:replaced` may be overwritten.
 */
export const isKeyFree =
  'attribute_not_exists(id) OR batch_id = :replaced OR replayed_at <= :expired OR (attribute_not_exists(replayed_at) AND received_at <= :expired)';

/** Idempotency keys and batch rows in the ledger. */
export class DynamodbBatchRecords {
  readonly #options: BatchRecordsOptions;

  constructor(options: BatchRecordsOptions) {
    this.#options = options;
  }

  /** The batch of the caller's key, unless the key has expired. */
  async findKey(caller: string, key: string, now: number): Promise<KeyRecord | undefined> {
    const record = readKey(await this.#get(keyOf(caller, key)));
    const isKept = record !== undefined && keptSince(record) + this.#options.keepMs > now;
    return isKept ? record : undefined;
  }

  /**
   * Gives the key to the batch. If another batch holds it, `decide` returns the outcome; if that is
   * undefined, the holder loses the key. `replaced`: a batch that loses the key at once. Returns
   * undefined once the batch has the key.
   */
  async claimKey<Decision>(
    owner: { readonly caller: string; readonly key: string; readonly replaced?: BatchId },
    record: KeyRecord,
    now: () => number,
    decide: (holder: KeyRecord) => Promise<Decision | undefined>,
  ): Promise<Decision | undefined> {
    const { client, ledgerTable, keepMs } = this.#options;
    const key = keyOf(owner.caller, owner.key);
    for (let { replaced = '-' } = owner; ;) {
      const request = new PutItemCommand({
        TableName: ledgerTable,
        Item: keyRow(key, record, keepMs),
        // DynamoDB deletes expired rows late; until then the condition allows overwriting them.
        ConditionExpression: isKeyFree,
        ExpressionAttributeValues: {
          ':expired': { N: String(now() - keepMs) },
          ':replaced': { S: replaced },
        },
        ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
      });
      try {
        await client.send(request);
        return undefined;
      } catch (error) {
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
        const holder = readKey(error.Item ?? (await this.#get(key)));
        // If DynamoDB has just deleted the row, the key is free.
        if (holder === undefined) continue;
        const decision = await decide(holder);
        if (decision !== undefined) return decision;
        replaced = holder.batchId;
      }
    }
  }

  /**
   * Whether the batch is completely stored and queued. If its message carries its body, it has no
   * batch row, and this shows only once it is counted or dropped.
   */
  async isComplete(batchId: BatchId): Promise<boolean> {
    if ((await this.#get(batchKey(batchId))) !== undefined) return true;
    if (readCarriedBatchId(batchId) === undefined) return false;
    const key = dedupKeyOf(batchId, 0);
    return dedupStateIn(await this.#get(key), key) !== undefined;
  }

  /** When the batch was received, until its row expires; milliseconds since 1970. */
  async receivedAt(batchId: BatchId): Promise<number | undefined> {
    const record = await this.#get(batchKey(batchId));
    return record && numberOf(record, 'received_at');
  }

  /** Records that the batch is stored and queued; returns false if that is recorded already. */
  async complete(record: BatchRecord): Promise<boolean> {
    const { client, ledgerTable, keepMs } = this.#options;
    return await putRow(client, ledgerTable, batchRow(record, keepMs), ifNew);
  }

  #get(key: LedgerKey): Promise<Item | undefined> {
    const { client, ledgerTable } = this.#options;
    return getRow(client, ledgerTable, key);
  }
}

function keyOf(caller: string, key: string): LedgerKey {
  return idempotencyKey(keyIdOf(caller, key));
}

/** The row of an idempotency key that belongs to the batch. */
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

/** The row of a batch that is completely stored and queued. */
export function batchRow(record: BatchRecord, keepMs: number): Item {
  return {
    ...keyItem(batchKey(record.batchId)),
    received_at: { N: String(record.receivedAt) },
    accepted: { N: String(record.accepted) },
    rejected: { N: String(record.rejected) },
    chunks: { N: String(record.chunks) },
    ...replayedAtOf(record),
    ...(record.queuedAt !== undefined && { queued_at: { N: String(record.queuedAt) } }),
    expires_at: expiry(keptSince(record) + keepMs),
  };
}

/**
 * The moment from which a batch's rows are kept. For a replayed batch that is its arrival here: the
 * other installation's clock is unknown.
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
