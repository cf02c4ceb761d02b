import {
  ConditionalCheckFailedException,
  GetItemCommand,
  PutItemCommand,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';

import { keyItem, numberOf, type LedgerKey } from './ledger-table.ts';

const leastKeepKey: LedgerKey = { id: 'settings', entry: 'least_keep' };

/**
 * The shortest time, in milliseconds, for which marks were ever kept in this store, `keepMs` being
 * what is set now. A mark lives as long as was set when it was written: where more is set later,
 * what is older than the least may have lost its mark all the same.
 */
export async function leastKeepMs(
  client: Pick<DynamoDBClient, 'send'>,
  TableName: string,
  keepMs: number,
): Promise<number> {
  const least = await findLeastKeepMs(client, TableName);
  if (least !== undefined && least <= keepMs) return least;
  try {
    await client.send(
      new PutItemCommand({
        TableName,
        Item: { ...keyItem(leastKeepKey), keep_ms: { N: String(keepMs) } },
        ConditionExpression: 'attribute_not_exists(id) OR keep_ms > :keep_ms',
        ExpressionAttributeValues: { ':keep_ms': { N: String(keepMs) } },
      }),
    );
    return keepMs;
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
    // Somebody else has just written less.
    return leastKeepMs(client, TableName, keepMs);
  }
}

/** The same as far as it is known, for who only looks. */
export async function findLeastKeepMs(
  client: Pick<DynamoDBClient, 'send'>,
  TableName: string,
): Promise<number | undefined> {
  const request = { TableName, Key: keyItem(leastKeepKey), ConsistentRead: true };
  const found = (await client.send(new GetItemCommand(request))).Item;
  return found === undefined ? undefined : numberOf(found, 'keep_ms');
}
