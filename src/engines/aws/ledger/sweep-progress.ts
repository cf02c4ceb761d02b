import { DeleteItemCommand, QueryCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { readRawKey } from '../../../domain/batch-id.ts';
import type { Orphan, SweepProgress } from '../../../pipeline/sweep/ports.ts';
import { getRow, putRow, queryPages } from './items.ts';
import { keyItem, numberOf, textOf, type Item, type LedgerKey } from './ledger-table.ts';

const sweepId = 'sweep';
const positionKey: LedgerKey = { id: sweepId, entry: 'position' };
const countedKey: LedgerKey = { id: sweepId, entry: 'counted' };
const sweptKey: LedgerKey = { id: sweepId, entry: 'swept' };
const orphanPrefix = 'orphan:';

/** The progress of sweeps, in ledger rows that do not expire. */
export function dynamodbSweepProgress(
  client: Pick<DynamoDBClient, 'send'>,
  TableName: string,
): SweepProgress {
  const get = (key: LedgerKey) => getRow(client, TableName, key);
  const put = (key: LedgerKey, attributes: Item) =>
    putRow(client, TableName, { ...keyItem(key), ...attributes });
  return {
    async position() {
      const [position, counted] = await Promise.all([get(positionKey), get(countedKey)]);
      const intakesThrough = position === undefined ? '' : textOf(position, 'raw_key');
      // Earlier versions had one position: they checked each batch once, and then as an orphan.
      return {
        intakesThrough,
        countedThrough: counted === undefined ? intakesThrough : textOf(counted, 'raw_key'),
      };
    },

    async moveTo(intakesThrough) {
      await put(positionKey, { raw_key: { S: intakesThrough } });
    },

    async countedTo(countedThrough, receivedBefore) {
      // Two rows: earlier versions write only the second.
      await put(countedKey, { raw_key: { S: countedThrough } });
      await put(sweptKey, { received_before: { N: String(receivedBefore) } });
    },

    async *orphans(dueAt) {
      const pages = queryPages(client, {
        TableName,
        KeyConditionExpression: 'id = :id AND begins_with(entry, :orphan)',
        FilterExpression: 'next_at <= :due',
        ExpressionAttributeValues: {
          ':id': { S: sweepId },
          ':orphan': { S: orphanPrefix },
          ':due': { N: String(dueAt) },
        },
      });
      for await (const page of pages) yield page.map(orphanOf);
    },

    async saveOrphan({ rawKey, attempts }, nextAt) {
      const attributes = { attempts: { N: String(attempts) }, next_at: { N: String(nextAt) } };
      await put(orphanKey(rawKey), attributes);
    },

    async removeOrphan(rawKey) {
      await client.send(new DeleteItemCommand({ TableName, Key: keyItem(orphanKey(rawKey)) }));
    },
  };
}

/**
 * The moment before which every batch received here is counted or a dead letter, as far as sweeps
 * have checked; undefined before the first sweep. Milliseconds since 1970.
 */
export async function countedThrough(
  client: Pick<DynamoDBClient, 'send'>,
  TableName: string,
): Promise<number | undefined> {
  const first = async (entries: string, value: string) => {
    const { Items = [] } = await client.send(
      new QueryCommand({
        TableName,
        KeyConditionExpression: `id = :id AND ${entries}`,
        ExpressionAttributeValues: { ':id': { S: sweepId }, ':entry': { S: value } },
        ConsistentRead: true,
        Limit: 1,
      }),
    );
    return Items[0];
  };
  // Orphans second: a sweep writes them before it moves its position.
  const swept = await first('entry = :entry', sweptKey.entry);
  if (swept === undefined) return undefined;
  const oldest = await first('begins_with(entry, :entry)', orphanPrefix);
  const rawKey = oldest && textOf(oldest, 'entry').slice(orphanPrefix.length);
  const orphanSince = readRawKey(rawKey ?? '')?.receivedAt ?? Number.POSITIVE_INFINITY;
  return Math.min(numberOf(swept, 'received_before'), orphanSince);
}

function orphanOf(item: Item): Orphan {
  const rawKey = textOf(item, 'entry').slice(orphanPrefix.length);
  return { rawKey, attempts: numberOf(item, 'attempts') };
}

function orphanKey(rawKey: string): LedgerKey {
  return { id: sweepId, entry: orphanPrefix + rawKey };
}
