import type { TransactWriteItem } from '@aws-sdk/client-dynamodb';

import { batchIdInBlock, placeInBlock, type BatchId } from '../../../domain/batch-id.ts';
import { batchGet, ifNew, type BatchGetOptions } from './items.ts';
import {
  blockKey,
  blockOf,
  chunkKey,
  expiry,
  isDropped,
  keyItem,
  textOf,
  type Item,
  type LedgerKey,
} from './ledger-table.ts';

/*
 * Dedup records, because of which each chunk counts once. The transaction that adds to the counters writes the
 * record, on condition that there is none. A record is a row of its own, or, for a batch whose message
 * carried its body, a number in the row of its block. Block and number together are the batch id, so
 * that no two batches share a record, and the row gives the ids of the batches that it has records of.
 *
 * The row of a block, a dedup block: `numbers`, a number set of the batches that are counted or dropped;
 * `dropped`, those of them that are dropped; `expires_at`, by its latest record; and `keep_until`, in the
 * place of that once a batch is dropped.
 */

/** The row of a dedup record; in a dedup block also its number. */
export interface DedupKey extends LedgerKey {
  readonly number?: number;
}

interface DedupRecord {
  readonly key: DedupKey;
  /**
   * The number of items counted; a dedup block has none, because the ids of its batches contain it.
   */
  readonly items: number;
  /** Further attributes of a row. */
  readonly more?: Item;
}

/** Times in milliseconds. */
interface Kept {
  readonly now: number;
  readonly keepMs: number;
}

/** Never. */
const endOfTime = expiry(Date.UTC(9999, 11, 31));

/** The key of a chunk's dedup record. A batch in a block has one chunk. */
export function dedupKeyOf(batchId: BatchId, index: number): DedupKey {
  const place = index === 0 ? placeInBlock(batchId) : undefined;
  return place === undefined
    ? chunkKey(batchId, index)
    : { ...blockKey(place.block), number: place.number };
}

/** Equal for records in the same row. */
export function rowTextOf({ id, entry }: LedgerKey): string {
  return `${id} ${entry}`;
}

/** Equal for the same record. */
export function recordTextOf(key: DedupKey): string {
  return key.number === undefined ? rowTextOf(key) : `${rowTextOf(key)} ${key.number}`;
}

/** Whether a row marks a chunk as counted, or as dropped; undefined if neither. */
export function dedupStateIn(
  row: Item | undefined,
  { number }: DedupKey,
): 'counted' | 'dropped' | undefined {
  if (row === undefined) return undefined;
  if (number === undefined) return isDropped(row) ? 'dropped' : 'counted';
  const has = (name: string) => row[name]?.NS?.includes(String(number)) === true;
  if (!has('numbers')) return undefined;
  return has('dropped') ? 'dropped' : 'counted';
}

/** The batches with a record in a dedup block; undefined for other rows. */
export function batchesInBlock(row: Item): { batchId: BatchId; isDropped: boolean }[] | undefined {
  const block = blockOf(row['id']?.S ?? '');
  if (block === undefined) return undefined;
  const dropped = new Set(row['dropped']?.NS);
  return (row['numbers']?.NS ?? []).map((number) => ({
    batchId: batchIdInBlock({ block, number: Number(number) }),
    isDropped: dropped.has(number),
  }));
}

/** Reads the rows of dedup records. Returns a function that finds the row of each. */
export async function readDedupRows(
  options: BatchGetOptions,
  keys: readonly DedupKey[],
): Promise<(key: DedupKey) => Item | undefined> {
  const distinct = new Map(keys.map((key) => [rowTextOf(key), keyItem(key)]));
  const rows = await batchGet(options, [...distinct.values()]);
  const found = new Map(
    rows.map((row) => [rowTextOf({ id: textOf(row, 'id'), entry: textOf(row, 'entry') }), row]),
  );
  return (key) => found.get(rowTextOf(key));
}

/**
 * Writes new records of one row, on condition that none of them exists. A failed condition returns
 * the row if it is a dedup block. DynamoDB allows 300 operators in a condition, so that 150 records
 * are possible.
 */
export function newRecords(
  TableName: string,
  records: readonly DedupRecord[],
  kept: Kept,
): TransactWriteItem {
  const [first] = records;
  if (first === undefined) throw new RangeError('There is no record to write.');
  const { key } = first;
  if (key.number === undefined) return { Put: { TableName, Item: rowOf(first, kept), ...ifNew } };
  const numbers = records.flatMap(({ key: { number } }) => number ?? []);
  return { Update: ifInNone(numbers, addition(TableName, key, numbers, kept)) };
}

/** Writes a record, whether it exists or not. */
export function anyRecord(TableName: string, record: DedupRecord, kept: Kept): TransactWriteItem {
  const { key } = record;
  return key.number === undefined
    ? { Put: { TableName, Item: rowOf(record, kept) } }
    : { Update: addition(TableName, key, [key.number], kept) };
}

/** Records that a chunk or message is never counted, on condition that it has no record. */
export function droppedRecord(
  TableName: string,
  key: DedupKey,
  { droppedAt, reason }: { readonly droppedAt: number; readonly reason: string },
): TransactWriteItem {
  if (key.number === undefined) {
    const said = { dropped_at: { N: String(droppedAt) }, reason: { S: reason } };
    return { Put: { TableName, Item: { ...keyItem(key), items: { N: '0' }, ...said }, ...ifNew } };
  }
  return {
    Update: ifInNone([key.number], {
      ...{ TableName, Key: keyItem(key) },
      UpdateExpression:
        'SET expires_at = :never, keep_until = :never ADD numbers :numbers, dropped :numbers',
      ExpressionAttributeValues: { ':never': endOfTime, ':numbers': setOf([key.number]) },
    }),
  };
}

/** Removes the record of a counted batch from its dedup block. */
export function removedFromBlock(
  TableName: string,
  key: LedgerKey,
  number: number,
): TransactWriteItem {
  return {
    Update: {
      ...{ TableName, Key: keyItem(key) },
      UpdateExpression: 'DELETE numbers :numbers',
      ConditionExpression: 'contains(numbers, :n0) AND NOT contains(dropped, :n0)',
      ExpressionAttributeValues: { ':numbers': setOf([number]), ':n0': { N: String(number) } },
    },
  };
}

type Update = NonNullable<TransactWriteItem['Update']>;

/** A failed condition then returns the existing row, at no extra cost. */
const withRow = { ReturnValuesOnConditionCheckFailure: 'ALL_OLD' } as const;

function rowOf({ key, items, more }: DedupRecord, { now, keepMs }: Kept): Item {
  return {
    ...keyItem(key),
    items: { N: String(items) },
    counted_at: { N: String(now) },
    expires_at: expiry(now + keepMs),
    ...more,
  };
}

/** Adds numbers to a dedup block, which then lives as long as the latest of its records. */
function addition(
  TableName: string,
  key: LedgerKey,
  numbers: readonly number[],
  { now, keepMs }: Kept,
): Update {
  return {
    ...{ TableName, Key: keyItem(key) },
    UpdateExpression:
      'SET expires_at = if_not_exists(keep_until, :expires_at) ADD numbers :numbers',
    ExpressionAttributeValues: { ':expires_at': expiry(now + keepMs), ':numbers': setOf(numbers) },
  };
}

/** The update, on condition that the dedup block has none of the numbers. */
function ifInNone(numbers: readonly number[], update: Update): Update {
  const names = numbers.map((_, at) => `:n${at}`);
  const values = numbers.map((number, at) => [`:n${at}`, { N: String(number) }] as const);
  return {
    ...update,
    ConditionExpression: `NOT (${names.map((name) => `contains(numbers, ${name})`).join(' OR ')})`,
    ExpressionAttributeValues: {
      ...update.ExpressionAttributeValues,
      ...Object.fromEntries(values),
    },
    ...withRow,
  };
}

function setOf(numbers: readonly number[]) {
  return { NS: numbers.map(String) };
}
