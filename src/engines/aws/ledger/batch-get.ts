import { BatchGetItemCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import type { Item } from './ledger-table.ts';

interface BatchGetOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly table: string;
  /** Whether to see the latest writes, at twice the price. */
  readonly isConsistent: boolean;
  /** The attributes to read, separated by commas; default: all. */
  readonly attributes?: string;
  /** Concurrent requests. */
  readonly width: number;
  /** Between requests for keys that a busy DynamoDB left unprocessed. */
  readonly backoff: Backoff;
}

/** DynamoDB's limit of keys in one BatchGetItem. */
const keysMax = 100;

/**
 * The items that exist under the keys, in no order; the keys must be distinct.
 * @throws if DynamoDB keeps leaving keys unprocessed.
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
      throw new Error('DynamoDB is too busy: it left keys unprocessed in every attempt.');
    }
  }
  return found;
}
