import type { TransactWriteItem } from '@aws-sdk/client-dynamodb';

import { fencedWritesMax, type FencedWrites } from '../ledger/fenced-writes.ts';
import { chunkKey, keyItem } from '../ledger/ledger-table.ts';
import { strayMarks, type StrayDedupRecord } from './audit-findings.ts';
import type { AuditDatabase } from './audit-database.ts';

/**
 * Takes away marks of chunks that the raw body of their batch does not have, each only if it is
 * still as it was seen, and never one that says that the chunk is dropped. Returns how many.
 */
export async function removeStrayDedupRecords(
  scratch: AuditDatabase,
  writes: Pick<FencedWrites, 'write'>,
  ledgerTable: string,
): Promise<number> {
  const strays = scratch.all<StrayDedupRecord>(strayMarks);
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
  const asSeen =
    items === null
      ? 'attribute_exists(id) AND NOT attribute_type(#items, :seen)'
      : '#items = :seen';
  return {
    Key: keyItem(chunkKey(batch, chunk)),
    ConditionExpression: `${asSeen} AND attribute_not_exists(dropped_at)`,
    ExpressionAttributeNames: { '#items': 'items' },
    ExpressionAttributeValues: { ':seen': items === null ? { S: 'N' } : { N: String(items) } },
  };
}
