import {
  DeleteItemCommand,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';

import type { Orphan, SweepProgress } from '../../pipeline/sweep.ts';
import { keyItem, numberOf, textOf, type Item, type LedgerKey } from './ledger-table.ts';

const sweepId = 'sweep';
const positionKey: LedgerKey = { id: sweepId, entry: 'position' };
const orphanPrefix = 'orphan:';

/** What a sweep leaves behind, in rows of the ledger that have no end. */
export function dynamodbSweepProgress(
  client: Pick<DynamoDBClient, 'send'>,
  TableName: string,
): SweepProgress {
  return {
    async position() {
      const Key = keyItem(positionKey);
      const { Item } = await client.send(
        new GetItemCommand({ TableName, Key, ConsistentRead: true }),
      );
      return Item === undefined ? '' : textOf(Item, 'raw_key');
    },

    async moveTo(rawKey) {
      const Item = { ...keyItem(positionKey), raw_key: { S: rawKey } };
      await client.send(new PutItemCommand({ TableName, Item }));
    },

    async orphans(dueAt, limit) {
      const orphans: Orphan[] = [];
      let ExclusiveStartKey: Item | undefined;
      do {
        const page = await client.send(
          new QueryCommand({
            TableName,
            KeyConditionExpression: 'id = :id AND begins_with(entry, :orphan)',
            FilterExpression: 'next_at <= :due',
            ExpressionAttributeValues: {
              ':id': { S: sweepId },
              ':orphan': { S: orphanPrefix },
              ':due': { N: String(dueAt) },
            },
            ConsistentRead: true,
            ExclusiveStartKey,
          }),
        );
        for (const item of page.Items ?? []) {
          const rawKey = textOf(item, 'entry').slice(orphanPrefix.length);
          orphans.push({ rawKey, attempts: numberOf(item, 'attempts') });
        }
        ExclusiveStartKey = page.LastEvaluatedKey;
      } while (ExclusiveStartKey !== undefined && orphans.length < limit);
      return orphans.slice(0, limit);
    },

    async keep({ rawKey, attempts }, nextAt) {
      const Item = {
        ...keyItem(orphanKey(rawKey)),
        attempts: { N: String(attempts) },
        next_at: { N: String(nextAt) },
      };
      await client.send(new PutItemCommand({ TableName, Item }));
    },

    async drop(rawKey) {
      await client.send(new DeleteItemCommand({ TableName, Key: keyItem(orphanKey(rawKey)) }));
    },
  };
}

function orphanKey(rawKey: string): LedgerKey {
  return { id: sweepId, entry: orphanPrefix + rawKey };
}
