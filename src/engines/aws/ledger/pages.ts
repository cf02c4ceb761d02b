import {
  QueryCommand,
  ScanCommand,
  type DynamoDBClient,
  type QueryCommandInput,
  type ScanCommandInput,
} from '@aws-sdk/client-dynamodb';

import type { Item } from './ledger-table.ts';

type Client = Pick<DynamoDBClient, 'send'>;
type Paged<Input> = Omit<Input, 'ExclusiveStartKey' | 'ConsistentRead'>;

/** The items of a consistent query, a page at a time. The SDK's paginators require its own client. */
export async function* queryPages(
  client: Client,
  input: Paged<QueryCommandInput>,
): AsyncGenerator<Item[]> {
  yield* pagesOf((page) => client.send(new QueryCommand({ ...input, ...page })));
}

/** The items of a consistent scan, a page at a time. */
export async function* scanPages(
  client: Client,
  input: Paged<ScanCommandInput>,
): AsyncGenerator<Item[]> {
  yield* pagesOf((page) => client.send(new ScanCommand({ ...input, ...page })));
}

interface PageRequest {
  readonly ConsistentRead: true;
  readonly ExclusiveStartKey: Item | undefined;
}

interface Page {
  readonly Items?: Item[] | undefined;
  readonly LastEvaluatedKey?: Item | undefined;
}

async function* pagesOf(send: (request: PageRequest) => Promise<Page>): AsyncGenerator<Item[]> {
  let ExclusiveStartKey: Item | undefined;
  do {
    const page = await send({ ConsistentRead: true, ExclusiveStartKey });
    yield page.Items ?? [];
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey !== undefined);
}
