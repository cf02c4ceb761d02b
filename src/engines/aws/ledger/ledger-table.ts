import { hash } from 'node:crypto';

import type { AttributeValue } from '@aws-sdk/client-dynamodb';

import type { BatchId } from '../../../domain/batch-id.ts';

/**
 * The ledger table: partition key `id`, sort key `entry`, time to live `expires_at` (seconds).
 *
 *     id                entry            what it is
 *     batch:<batch id>  batch            the batch is stored and queued; its receipt
 *                       chunk:<index>    this chunk is counted; or, with dropped_at, never will be
 *                       dropped          nothing of this batch can be counted, nor will be
 *     key:<sha-256>     key              the caller's idempotency key, and whose batch it is
 *     message:<id>      counted          this message of somebody else is counted, or dropped likewise
 *                       parked           this message was put into the dead-letter queue
 *     dropped           <dead letter>    who it was that somebody decided never to count
 *     sweep             position         through which raw key no batch's intake was left cut off
 *                       counted          through which raw key all batches are counted or orphans
 *                       swept            before which moment of receipt that is so of all
 *                       orphan:<raw key> a batch whose chunks were sent again
 *     rebuild           run              which rebuild may write
 *                       step:<run>:<n>   what it corrected: the counters as they were, until they are dropped
 *     settings          day_rule         the rule by which this store takes the day
 *                       least_keep       the shortest time for which marks were ever kept
 *                       tables           which counters table and which ledger table belong together
 */
export interface LedgerKey {
  readonly id: string;
  readonly entry: string;
}

/** The attributes of an item, as DynamoDB has them. */
export type Item = Record<string, AttributeValue>;

/** A batch with so many chunks cannot be: a body is at most some megabytes. */
const indexDigits = 6;
const chunkPrefix = 'chunk:';

const batchPrefix = 'batch:';

export function batchKey(batchId: BatchId): LedgerKey {
  return { id: batchPrefix + batchId, entry: 'batch' };
}

/** The batch whose rows have this id. */
export function batchIdOf(id: string): BatchId {
  return id.slice(batchPrefix.length);
}

export function chunkKey(batchId: BatchId, index: number): LedgerKey {
  const digits = String(index).padStart(indexDigits, '0');
  return { id: `batch:${batchId}`, entry: chunkPrefix + digits };
}

/**
 * What an idempotency key is known by: a SHA-256 in hex. The caller's name stands with its length,
 * so that no two pairs are written alike.
 */
export function keyIdOf(caller: string, key: string): string {
  return hash('sha256', `${caller.length}:${caller}${key}`);
}

export const keyPrefix = 'key:';

/** Whose batch an idempotency key is. */
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

/** Nothing of the batch is ever counted. */
export function droppedBatchKey(batchId: BatchId): LedgerKey {
  return { id: `batch:${batchId}`, entry: 'dropped' };
}

/** Which rebuild may write. */
export const rebuildRunKey: LedgerKey = { id: 'rebuild', entry: 'run' };
export const rebuildStepPrefix = 'step:';

/** What a rebuild corrected in one transaction. */
export function rebuildStepKey(runId: string, step: number): LedgerKey {
  const digits = String(step).padStart(indexDigits, '0');
  return { id: rebuildRunKey.id, entry: `${rebuildStepPrefix}${runId}:${digits}` };
}

/** What stands where a mark would, and keeps it from ever standing there. */
export function isDropped(item: Item): boolean {
  return item['dropped_at'] !== undefined;
}

/** Whether it is the key of a message of somebody else. */
export function isMessageKey({ id }: LedgerKey): boolean {
  return id.startsWith('message:');
}

export function keyItem({ id, entry }: LedgerKey): Item {
  return { id: { S: id }, entry: { S: entry } };
}

/** Seconds since 1970, rounded up: an item may outlive its time, never end before it. */
export function expiry(milliseconds: number): AttributeValue {
  return { N: String(Math.ceil(milliseconds / 1000)) };
}

export function textOf(item: Item, name: string): string {
  const value = item[name]?.S;
  if (value === undefined) throw new Error(`an item of the ledger has no text ${name}`);
  return value;
}

export function numberOf(item: Item, name: string): number {
  const value = item[name]?.N;
  if (value === undefined) throw new Error(`an item of the ledger has no number ${name}`);
  return Number(value);
}
