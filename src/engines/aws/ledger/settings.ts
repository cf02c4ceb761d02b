import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { isSameDayZone } from '../../../domain/day.ts';
import { getRow, ifNew, putRow } from './items.ts';
import { keyItem, numberOf, textOf, type LedgerKey } from './ledger-table.ts';

/**
 * A chunk older than the lifetime of dedup records minus this margin is not counted: its dedup
 * record may have expired. The margin allows for redrives and for clock differences. Milliseconds.
 */
export const redriveMarginMs = 7 * 86_400_000;

type Client = Pick<DynamoDBClient, 'send'>;

const dayRuleKey: LedgerKey = { id: 'settings', entry: 'day_rule' };
const shortestRetentionKey: LedgerKey = { id: 'settings', entry: 'least_keep' };

/**
 * Records the store's day rule once and rejects another one later: batches that are cut or counted
 * again under another rule would count on other days.
 * @throws if the store has another rule.
 */
export async function ensureDayRule(
  client: Client,
  TableName: string,
  dayZone: string,
): Promise<void> {
  const stored = await findDayRule(client, TableName);
  if (stored !== undefined) {
    checkDayRule(stored, dayZone);
    return;
  }
  const row = { ...keyItem(dayRuleKey), day_zone: { S: dayZone } };
  const isWritten = await putRow(client, TableName, row, ifNew);
  // If another function was first, compare with what it wrote.
  if (!isWritten) await ensureDayRule(client, TableName, dayZone);
}

/** The recorded day rule. */
export async function findDayRule(client: Client, TableName: string): Promise<string | undefined> {
  const row = await getRow(client, TableName, dayRuleKey);
  return row && textOf(row, 'day_zone');
}

function checkDayRule(stored: string, dayZone: string): void {
  if (isSameDayZone(stored, dayZone)) return;
  throw new Error(
    `This store has the day rule ${JSON.stringify(stored)}, but dayZone is ${JSON.stringify(dayZone)}. Set dayZone back, or create a new stack with the other rule and replay the raw bodies into it.`,
  );
}

/**
 * The shortest time, in milliseconds, for which this store ever kept dedup records; `keepMs` is the
 * current setting. A record expires by the setting at the time of its writing: after a longer
 * setting, older records may still be gone.
 */
export async function shortestRetentionMs(
  client: Client,
  TableName: string,
  keepMs: number,
): Promise<number> {
  const shortest = await findShortestRetentionMs(client, TableName);
  if (shortest !== undefined && shortest <= keepMs) return shortest;
  const row = { ...keyItem(shortestRetentionKey), keep_ms: { N: String(keepMs) } };
  const isWritten = await putRow(client, TableName, row, {
    ConditionExpression: 'attribute_not_exists(id) OR keep_ms > :keep_ms',
    ExpressionAttributeValues: { ':keep_ms': { N: String(keepMs) } },
  });
  // If another function has just written a shorter time, use that.
  return isWritten ? keepMs : await shortestRetentionMs(client, TableName, keepMs);
}

/** The recorded shortest time; writes nothing. */
export async function findShortestRetentionMs(
  client: Client,
  TableName: string,
): Promise<number | undefined> {
  const row = await getRow(client, TableName, shortestRetentionKey);
  return row && numberOf(row, 'keep_ms');
}
