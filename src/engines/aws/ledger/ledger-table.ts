import { hash } from 'node:crypto';

import type { AttributeValue } from '@aws-sdk/client-dynamodb';

import type { BatchId } from '../../../domain/batch-id.ts';

/**
 * The ledger table: partition key `id`, sort key `entry`, time to live `expires_at` (seconds).
 *
 *     id                entry            what it is
 *     batch:<batch id>  batch            the batch row: the batch is stored and queued; its receipt
 *                       chunk:<index>    the dedup record: this chunk is counted; or, with
 *                                        dropped_at, never will be
 *                       dropped          nothing of this batch can be counted, nor will be
 *     block:<block>     counted          a dedup block: the dedup records of up to 100 batches whose
 *                                        messages carried their bodies (`dedup-records.ts`)
 *     key:<sha-256>     key              the caller's idempotency key, and its batch
 *     message:<id>      counted          this message of another program is counted; or, with
 *                                        dropped_at, never will be
 *                       parked           this message was moved to the dead-letter queue
 *     dropped           <dead letter>    a dropped dead letter
 *     sweep             position         the raw key up to which no intake is left interrupted
 *                       counted          the raw key up to which all batches are counted or orphans
 *                       swept            the time of receipt before which they are
 *                       orphan:<raw key> a batch whose chunks were sent again
 *     rebuild           run              the rebuild that may write
 *                       step:<run>:<n>   what it corrected: the counters as they were, until they are dropped
 *     settings          day_rule         the day rule of this store
 *                       least_keep       the shortest time for which dedup records were ever kept
 *                       tables           the counters table and the ledger table that belong together
 */
export interface LedgerKey {
  readonly id: string;
  readonly entry: string;
}

/** The attributes of an item in DynamoDB's form. */
export type Item = Record<string, AttributeValue>;

/** No batch has more chunks: a body has some megabytes at most. */
const indexDigits = 6;
const chunkPrefix = 'chunk:';
const batchPrefix = 'batch:';
const blockPrefix = 'block:';

export function batchKey(batchId: BatchId): LedgerKey {
  return { id: batchPrefix + batchId, entry: 'batch' };
}

/** The batch id in the partition key of its rows. */
export function batchIdOf(id: string): BatchId {
  return id.slice(batchPrefix.length);
}

export function chunkKey(batchId: BatchId, index: number): LedgerKey {
  const digits = String(index).padStart(indexDigits, '0');
  return { id: batchPrefix + batchId, entry: chunkPrefix + digits };
}

/** The row of a dedup block. `block` is that of a `PlaceInBlock`. */
export function blockKey(block: string): LedgerKey {
  return { id: blockPrefix + block, entry: 'counted' };
}

/** The block in the partition key of its row; undefined for other rows. */
export function blockOf(id: string): string | undefined {
  return id.startsWith(blockPrefix) ? id.slice(blockPrefix.length) : undefined;
}

/**
 * The id of an idempotency key: a SHA-256 in hex. The length of the caller's name keeps different
 * pairs of caller and key apart.
 */
export function keyIdOf(caller: string, key: string): string {
  return hash('sha256', `${caller.length}:${caller}${key}`);
}

export const keyPrefix = 'key:';

export function idempotencyKey(keyId: string): LedgerKey {
  return { id: keyPrefix + keyId, entry: 'key' };
}

/** The index in a chunk's entry; undefined for other entries. */
export function chunkIndexOf(entry: string): number | undefined {
  return entry.startsWith(chunkPrefix) ? Number(entry.slice(chunkPrefix.length)) : undefined;
}

export function messageKey(messageId: string, entry: 'counted' | 'parked'): LedgerKey {
  return { id: `message:${messageId}`, entry };
}

export function droppedBatchKey(batchId: BatchId): LedgerKey {
  return { id: batchPrefix + batchId, entry: 'dropped' };
}

/** The rebuild that may write. */
export const rebuildRunKey: LedgerKey = { id: 'rebuild', entry: 'run' };
export const rebuildStepPrefix = 'step:';

/** The key of a rebuild's corrections in one transaction. */
export function rebuildStepKey(runId: string, step: number): LedgerKey {
  const digits = String(step).padStart(indexDigits, '0');
  return { id: rebuildRunKey.id, entry: `${rebuildStepPrefix}${runId}:${digits}` };
}

/** Whether the row replaces a dedup record and marks its message as dropped. */
export function isDropped(item: Item): boolean {
  return item['dropped_at'] !== undefined;
}

/** Whether it is the key of a message that another program queued. */
export function isMessageKey({ id }: LedgerKey): boolean {
  return id.startsWith('message:');
}

export function keyItem({ id, entry }: LedgerKey): Item {
  return { id: { S: id }, entry: { S: entry } };
}

/** Seconds since 1970, rounded up: an item may outlive its time, but never expire before it. */
export function expiry(milliseconds: number): AttributeValue {
  return { N: String(Math.ceil(milliseconds / 1000)) };
}

export function textOf(item: Item, name: string): string {
  const value = item[name]?.S;
  if (value === undefined) throw new Error(`a ledger row has no text attribute ${name}`);
  return value;
}

export function numberOf(item: Item, name: string): number {
  const value = item[name]?.N;
  if (value === undefined) throw new Error(`a ledger row has no number attribute ${name}`);
  return Number(value);
}
