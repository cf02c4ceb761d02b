import type { TransactWriteItem } from '@aws-sdk/client-dynamodb';

import { fencedWritesMax, type FencedWrites } from '../ledger/fenced-writes.ts';
import { chunkKey, keyItem } from '../ledger/ledger-table.ts';
import { strayDedupRecords, type StrayDedupRecord } from './audit-findings.ts';
import type { AuditDatabase } from './audit-database.ts';

/**
 * Deletes dedup records of chunks that the raw body of their batch does not have, each only if it is
 * unchanged, and never one of a dropped chunk. Returns their number.
 */
export async function removeStrayDedupRecords(
  database: AuditDatabase,
  writes: Pick<FencedWrites, 'write'>,
  ledgerTable: string,
): Promise<number> {
  const strays = database.all<StrayDedupRecord>(strayDedupRecords);
  let removed = 0;
  for (let at = 0; at < strays.length; at += fencedWritesMax) {
    const deletes = strays
      .slice(at, at + fencedWritesMax)
      .map((stray) => ({ Delete: { TableName: ledgerTable, ...removal(stray) } }));
    if ((await writes.write(deletes)) === 'done') {
      removed += deletes.length;
      continue;
    }
    for (const one of deletes) if ((await writes.write([one])) === 'done') removed++;
  }
  return removed;
}

function removal({
  batch,
  chunk,
  items,
}: StrayDedupRecord): Omit<NonNullable<TransactWriteItem['Delete']>, 'TableName'> {
  const isUnchanged =
    items === null
      ? 'attribute_exists(id) AND NOT attribute_type(#items, :seen)'
      : '#items = :seen';
  return {
    Key: keyItem(chunkKey(batch, chunk)),
    ConditionExpression: `${isUnchanged} AND attribute_not_exists(dropped_at)`,
    ExpressionAttributeNames: { '#items': 'items' },
    ExpressionAttributeValues: { ':seen': items === null ? { S: 'N' } : { N: String(items) } },
  };
}
