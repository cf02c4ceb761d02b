import type { TransactWriteItem } from '@aws-sdk/client-dynamodb';

import { fromRanges, type Ranges } from '../../../domain/index-ranges.ts';
import { readItemsPerMessage } from '../../../pipeline/chunks/recut.ts';
import { keyRow, type KeyRecord } from '../ledger/batch-records.ts';
import { pagesOf } from '../../../util/pages-of.ts';
import { strayDedupRecords, type StrayDedupRecord } from './audit-findings.ts';
import { fencedWritesMax, type FencedWrites } from '../ledger/fenced-writes.ts';
import type { KeyIssue } from './key-findings.ts';
import { dedupKeyOf, removedFromBlock } from '../ledger/dedup-records.ts';
import { idempotencyKey, keyItem } from '../ledger/ledger-table.ts';
import type { AuditDatabase } from './audit-database.ts';

interface RestoreKeysOptions {
  readonly ledgerTable: string;
  readonly keepMs: number;
}

interface KeyOfBatch {
  readonly received_at: number;
  readonly replayed_at: number | null;
  readonly body_sha256: Uint8Array;
  readonly items_per_message: string;
  readonly excluded: string;
}

/** A row has 300 KB at most, a transaction 4 MB. */
const keysAtOnce = 10;

/**
 * Restores missing and wrong rows of idempotency keys, and deletes those without a batch; each only if
 * it is unchanged, since a retry may have taken the key meanwhile. Returns the number of writes.
 */
export async function restoreKeys(
  database: AuditDatabase,
  writes: Pick<FencedWrites, 'writeEach'>,
  options: RestoreKeysOptions,
): Promise<number> {
  let written = 0;
  for (let after = ''; ;) {
    const sql = 'SELECT * FROM key_issues WHERE key > ? ORDER BY key LIMIT ?';
    const issues = database.all<KeyIssue>(sql, after, keysAtOnce);
    const last = issues.at(-1);
    if (last === undefined) return written;
    after = last.key;
    written += await writes.writeEach(issues.map((issue) => writeFor(issue, database, options)));
  }
}

function writeFor(
  issue: KeyIssue,
  database: AuditDatabase,
  { ledgerTable: TableName, keepMs }: RestoreKeysOptions,
): TransactWriteItem {
  const key = idempotencyKey(issue.key);
  const unchanged = ifUnchanged(issue.seen);
  if (issue.batch === null) return { Delete: { TableName, Key: keyItem(key), ...unchanged } };
  return {
    Put: { TableName, Item: keyRow(key, recordOf(issue.batch, database), keepMs), ...unchanged },
  };
}

function ifUnchanged(seen: string | null) {
  if (seen === null) return { ConditionExpression: 'attribute_not_exists(id)' };
  if (seen === '') return { ConditionExpression: 'attribute_not_exists(batch_id)' };
  return {
    ConditionExpression: 'batch_id = :seen',
    ExpressionAttributeValues: { ':seen': { S: seen } },
  };
}

function recordOf(batchId: string, database: AuditDatabase): KeyRecord {
  const [found] = database.all<KeyOfBatch>('SELECT * FROM batch_keys WHERE batch = ?', batchId);
  if (found === undefined) throw new Error(`the audit database has no key of batch ${batchId}`);
  const excluded = fromRanges(JSON.parse(found.excluded) as Ranges);
  return {
    ...{ batchId, receivedAt: found.received_at, bodySha256: found.body_sha256 },
    ...(found.replayed_at !== null && { replayedAt: found.replayed_at }),
    itemsPerMessage: readItemsPerMessage(found.items_per_message),
    ...(excluded.length > 0 && { excluded }),
  };
}

/**
 * Deletes dedup records of chunks that the raw body of their batch does not have, each only if it is
 * unchanged, and never one of a dropped chunk. Returns their number.
 */
export async function removeStrayDedupRecords(
  database: AuditDatabase,
  writes: Pick<FencedWrites, 'writeEach'>,
  { ledgerTable: TableName }: Pick<RestoreKeysOptions, 'ledgerTable'>,
): Promise<number> {
  const strays = database.all<StrayDedupRecord>(strayDedupRecords);
  const isInBlock = ({ batch, chunk }: StrayDedupRecord) =>
    dedupKeyOf(batch, chunk).number !== undefined;
  const pages = [
    ...pagesOf(
      strays.filter((stray) => !isInBlock(stray)),
      fencedWritesMax,
    ),
    // Several records may share a row, which a transaction can write only once.
    ...pagesOf(strays.filter(isInBlock), 1),
  ];
  let removed = 0;
  for (const page of pages) {
    removed += await writes.writeEach(page.map((stray) => removal(TableName, stray)));
  }
  return removed;
}

function removal(TableName: string, { batch, chunk, items }: StrayDedupRecord): TransactWriteItem {
  const key = dedupKeyOf(batch, chunk);
  if (key.number !== undefined) return removedFromBlock(TableName, key, key.number);
  const isUnchanged =
    items === null
      ? 'attribute_exists(id) AND NOT attribute_type(#items, :seen)'
      : '#items = :seen';
  return {
    Delete: {
      ...{ TableName, Key: keyItem(key) },
      ConditionExpression: `${isUnchanged} AND attribute_not_exists(dropped_at)`,
      ExpressionAttributeNames: { '#items': 'items' },
      ExpressionAttributeValues: { ':seen': items === null ? { S: 'N' } : { N: String(items) } },
    },
  };
}
