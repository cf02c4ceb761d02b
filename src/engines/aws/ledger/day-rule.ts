import {
  ConditionalCheckFailedException,
  GetItemCommand,
  PutItemCommand,
  type DynamoDBClient,
} from '@aws-sdk/client-dynamodb';

import { keyItem, textOf, type LedgerKey } from './ledger-table.ts';

const dayRuleKey: LedgerKey = { id: 'settings', entry: 'day_rule' };

/**
 * Writes down the rule by which the store takes the day, the first time, and holds to it: batches
 * that are cut or counted again under another rule would count on other days.
 * @throws where the store has another rule.
 */
export async function fixDayRule(
  client: Pick<DynamoDBClient, 'send'>,
  TableName: string,
  dayZone: string,
): Promise<void> {
  const Item = { ...keyItem(dayRuleKey), day_zone: { S: dayZone } };
  const found = await findDayRule(client, TableName);
  if (found !== undefined) {
    checkRule(found, dayZone);
    return;
  }
  try {
    const ConditionExpression = 'attribute_not_exists(id)';
    await client.send(new PutItemCommand({ TableName, Item, ConditionExpression }));
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
    // Somebody else was first, in the same moment.
    await fixDayRule(client, TableName, dayZone);
  }
}

/** The rule as it stands there. */
export async function findDayRule(
  client: Pick<DynamoDBClient, 'send'>,
  TableName: string,
): Promise<string | undefined> {
  const request = { TableName, Key: keyItem(dayRuleKey), ConsistentRead: true };
  const found = (await client.send(new GetItemCommand(request))).Item;
  return found === undefined ? undefined : textOf(found, 'day_zone');
}

function checkRule(stored: string, dayZone: string): void {
  if (stored === dayZone) return;
  throw new Error(
    `This store takes the day by the rule ${JSON.stringify(stored)}, and is set to ${JSON.stringify(dayZone)} now. Set dayZone back, or begin a new stack with the other rule and replay the raw bodies into it.`,
  );
}
