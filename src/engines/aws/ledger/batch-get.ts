import { BatchGetItemCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import type { Item } from './ledger-table.ts';

export interface BatchGetOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly table: string;
  /** Whether what was written last must be seen, at twice the price. */
  readonly isConsistent: boolean;
  /** The attributes that are wanted, with commas between; left out: all. */
  readonly attributes?: string;
  /** How many requests are made at the same time. */
  readonly width: number;
  /** Between the requests for what DynamoDB leaves out, as it does where it is busy. */
  readonly backoff: Backoff;
}

/** DynamoDB's limit of keys in one BatchGetItem. */
const keysMax = 100;

/**
 * The items that are there of the keys, each of which is given once, in no order.
 * @throws where DynamoDB goes on leaving some out.
 */
export async function batchGet(options: BatchGetOptions, keys: readonly Item[]): Promise<Item[]> {
  const pages: Item[][] = [];
  for (let at = 0; at < keys.length; at += keysMax) pages.push(keys.slice(at, at + keysMax));
  const found = await inParallel(options.width, pages, (page) => getPage(options, page));
  return found.flat();
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
      throw new Error('DynamoDB answers only in part, again and again: it is too busy.');
    }
  }
  return found;
}
