import {
  BatchGetItemCommand,
  ConditionalCheckFailedException,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  ScanCommand,
  type DynamoDBClient,
  type PutItemCommandInput,
  type QueryCommandInput,
  type ScanCommandInput,
} from '@aws-sdk/client-dynamodb';

import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import { pagesOf } from '../../../util/pages-of.ts';
import { keyItem, type Item, type LedgerKey } from './ledger-table.ts';

type Client = Pick<DynamoDBClient, 'send'>;

/** The condition that there is no item under the key. */
export const ifNew = { ConditionExpression: 'attribute_not_exists(id)' } as const;

/** The ledger row under a key, read consistently. */
export async function getRow(
  client: Client,
  TableName: string,
  key: LedgerKey,
): Promise<Item | undefined> {
  const request = { TableName, Key: keyItem(key), ConsistentRead: true };
  return (await client.send(new GetItemCommand(request))).Item;
}

/** Writes a ledger row; returns false if the condition does not hold. */
export async function putRow(
  client: Client,
  TableName: string,
  Item: Item,
  condition: Pick<PutItemCommandInput, 'ConditionExpression' | 'ExpressionAttributeValues'> = {},
): Promise<boolean> {
  try {
    await client.send(new PutItemCommand({ TableName, Item, ...condition }));
    return true;
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return false;
    throw error;
  }
}

type Paged<Input> = Omit<Input, 'ExclusiveStartKey' | 'ConsistentRead'>;

/** The ledger rows of an id, a page at a time; or those whose entry has a prefix. */
export function rowPages(
  client: Client,
  TableName: string,
  id: string,
  prefix?: string,
): AsyncGenerator<Item[]> {
  return queryPages(client, {
    TableName,
    KeyConditionExpression:
      prefix === undefined ? 'id = :id' : 'id = :id AND begins_with(entry, :prefix)',
    ExpressionAttributeValues: {
      ':id': { S: id },
      ...(prefix !== undefined && { ':prefix': { S: prefix } }),
    },
  });
}

/** The items of a consistent query, a page at a time. The SDK's paginators require its own client. */
export function queryPages(
  client: Client,
  input: Paged<QueryCommandInput>,
): AsyncGenerator<Item[]> {
  return itemPages((page) => client.send(new QueryCommand({ ...input, ...page })));
}

/** The items of a consistent scan, a page at a time. */
export function scanPages(client: Client, input: Paged<ScanCommandInput>): AsyncGenerator<Item[]> {
  return itemPages((page) => client.send(new ScanCommand({ ...input, ...page })));
}

interface Page {
  readonly Items?: Item[] | undefined;
  readonly LastEvaluatedKey?: Item | undefined;
}

async function* itemPages(
  send: (request: {
    readonly ConsistentRead: true;
    readonly ExclusiveStartKey: Item | undefined;
  }) => Promise<Page>,
): AsyncGenerator<Item[]> {
  let ExclusiveStartKey: Item | undefined;
  do {
    const page = await send({ ConsistentRead: true, ExclusiveStartKey });
    yield page.Items ?? [];
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey !== undefined);
}

export interface BatchGetOptions {
  readonly client: Client;
  readonly table: string;
  /** Whether to see the latest writes, at twice the price. */
  readonly isConsistent: boolean;
  /** The attributes to read, separated by commas; default: all. */
  readonly attributes?: string;
  /** Concurrent requests. */
  readonly width: number;
  /** The backoff between requests for keys that a busy DynamoDB left unprocessed. */
  readonly backoff: Backoff;
}

/** DynamoDB's limit of keys in one BatchGetItem. */
const keysMax = 100;

/**
 * The items that exist under the keys, in no order; the keys must be distinct.
 * @throws if DynamoDB keeps leaving keys unprocessed.
 */
export async function batchGet(options: BatchGetOptions, keys: readonly Item[]): Promise<Item[]> {
  const pages = pagesOf(keys, keysMax);
  return (await inParallel(options.width, pages, (page) => getPage(options, page))).flat();
}

async function getPage(options: BatchGetOptions, keys: readonly Item[]): Promise<Item[]> {
  const { client, table, isConsistent, attributes, backoff } = options;
  const how = {
    ConsistentRead: isConsistent,
    ...(attributes !== undefined && { ProjectionExpression: attributes }),
  };
  const found: Item[] = [];
  let open = [...keys];
  for (let attempts = 1; open.length > 0; attempts++) {
    const { Responses = {}, UnprocessedKeys = {} } = await client.send(
      new BatchGetItemCommand({ RequestItems: { [table]: { Keys: open, ...how } } }),
    );
    found.push(...(Responses[table] ?? []));
    open = UnprocessedKeys[table]?.Keys ?? [];
    if (open.length > 0 && !(await waitForRetry(backoff, attempts))) {
      throw new Error('DynamoDB is too busy: it left keys unprocessed in every attempt.');
    }
  }
  return found;
}
