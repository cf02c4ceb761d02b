import { randomBytes, randomUUID } from 'node:crypto';

import {
  BatchGetItemCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  TransactWriteItemsCommand,
  type TransactWriteItem,
  UpdateItemCommand,
  type ConsumedCapacity,
} from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect } from 'vitest';

import { dynamodbUnits } from '../../../bench/aws/dynamodb-units.ts';
import { batchIdMaker, blockIdsMax } from '../../../src/domain/batch-id.ts';
import { dedupKeyOf, newRecords } from '../../../src/engines/aws/ledger/dedup-records.ts';
import { createResources } from '../../../infra/local/template/create-resources.ts';
import { clientSettings } from '../../../infra/local/client-settings.ts';
import type { StackEmulators } from '../../../infra/local/local-stack.ts';
import { startWire, type Wire } from '../../../infra/local/emulators/wire.ts';
import { openEmulators, singleTry } from '../../support/aws/aws-store.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Java');

// DynamoDB Local reports what it would bill. The benchmark must compute the same from requests and
// responses alone.

const TableName = `bench-${randomUUID()}`;
const ReturnConsumedCapacity = 'TOTAL';

let emulators: StackEmulators;
let wire: Wire;
let client: DynamoDBClient;
let metered = { write: 0, read: 0 };

beforeAll(async () => {
  emulators = await openEmulators();
  wire = await startWire({
    ...emulators,
    observe({ operation, requestBody }, { responseBody }) {
      const body = (bytes: Buffer) => JSON.parse(bytes.toString()) as object;
      metered = dynamodbUnits(operation, body(requestBody), body(responseBody)) ?? metered;
    },
  });
  const settings = clientSettings(wire.url, 'us-east-1', 'test');
  client = new DynamoDBClient({ ...settings, ...singleTry });
  const keys = [
    { AttributeName: 'id', KeyType: 'HASH' },
    { AttributeName: 'entry', KeyType: 'RANGE' },
  ] as const;
  const attributes = keys.map(({ AttributeName }) => ({
    AttributeName,
    AttributeType: 'S' as const,
  }));
  const tables = [{ name: TableName, keys, attributes, timeToLiveAttribute: undefined }];
  const nothing = { buckets: [], queues: [], functions: [], routes: [], eventSources: [] };
  const stack = { region: 'us-east-1', accountId: '0', ...nothing, schedules: [], outputs: {} };
  await createResources({ ...stack, tables }, wire.url);
});

afterAll(async () => {
  client.destroy();
  await wire.stop();
  await emulators.stop();
});

const key = (id: string, entry = 'chunk:000000') => ({ id: { S: id }, entry: { S: entry } });
const filler = (bytes: number) => ({ filler: { S: 'x'.repeat(bytes) } });

/** Both sides of one call. */
async function compare(
  send: () => Promise<{ ConsumedCapacity?: ConsumedCapacity | ConsumedCapacity[] | undefined }>,
) {
  const { ConsumedCapacity: consumed = [] } = await send();
  const told = [consumed].flat().reduce((sum, each) => sum + (each.CapacityUnits ?? 0), 0);
  expect(metered.write + metered.read).toBe(told);
  return metered;
}

describe('the units of DynamoDB, as DynamoDB Local reports them', () => {
  const put = (Item: ReturnType<typeof key>) =>
    client.send(new PutItemCommand({ TableName, Item, ReturnConsumedCapacity }));

  it('of puts, around 1 KB', async () => {
    expect(await compare(() => put(key('small')))).toEqual({ write: 1, read: 0 });
    const keyBytes = 'id'.length + 'a'.length + 'entry'.length + 'chunk:000000'.length;
    const room = 1024 - keyBytes - 'filler'.length;
    const exact = { ...key('a'), ...filler(room) };
    expect(await compare(() => put(exact))).toEqual({ write: 1, read: 0 });
    const above = { ...key('b'), ...filler(room + 1) };
    expect(await compare(() => put(above))).toEqual({ write: 2, read: 0 });
  });

  it('of updates and transactions', async () => {
    const update = (id: string, bytes: number) => ({
      TableName,
      Key: key(id),
      UpdateExpression: 'SET #filler = :filler ADD #count :count',
      ExpressionAttributeNames: { '#filler': 'filler', '#count': 'count' },
      ExpressionAttributeValues: { ':filler': filler(bytes).filler, ':count': { N: '12' } },
    });
    const single = { ...update('c', 10), ReturnConsumedCapacity } as const;
    await compare(() => client.send(new UpdateItemCommand(single)));
    // DynamoDB Local adds up only those writes of a transaction whose units differ from each other.
    const TransactItems = [
      { Put: { TableName, Item: key('d'), ConditionExpression: 'attribute_not_exists(id)' } },
      { Put: { TableName, Item: { ...key('e'), ...filler(1500) } } },
      { Update: update('f', 3000) },
    ];
    const transact = (items: TransactWriteItem[]) =>
      client.send(new TransactWriteItemsCommand({ TransactItems: items, ReturnConsumedCapacity }));
    const units = await compare(() => transact(TransactItems));
    expect(units).toEqual({ write: 2 * (1 + 2 + 3), read: 0 });
    await compare(() => transact([{ Update: update('c', 10) }]));
  });

  it('of a dedup block: one unit, until it is full', async () => {
    const make = batchIdMaker(randomBytes);
    const at = Math.ceil(Date.now() / 2 ** 16) * 2 ** 16;
    const records = Array.from({ length: blockIdsMax }, (_, serial) => ({
      ...{ key: dedupKeyOf(make(at + serial, 1), 0), items: 1 },
    }));
    const kept = { now: at, keepMs: 1_000 };
    for (const part of [records.slice(0, 1), records.slice(1, 60), records.slice(60)]) {
      const TransactItems = [newRecords(TableName, part, kept)];
      const request = { TransactItems, ReturnConsumedCapacity } as const;
      const units = await compare(() => client.send(new TransactWriteItemsCommand(request)));
      expect(units).toEqual({ write: 2, read: 0 });
    }
  });

  it('of reads', async () => {
    await put({ ...key('g', 'batch'), ...filler(100) });
    for (let index = 0; index < 50; index++) {
      await put({ ...key('g', `chunk:${index}`), ...filler(100) });
    }
    for (const ConsistentRead of [true, false]) {
      const get = (id: string) => {
        const request = {
          TableName,
          Key: key(id),
          ConsistentRead,
          ReturnConsumedCapacity,
        } as const;
        return client.send(new GetItemCommand(request));
      };
      await compare(() => get('e'));
      await compare(() => get('missing'));
      // Keys without an item are billed on AWS, and cost nothing at DynamoDB Local.
      const Keys = ['e', 'a', 'b'].map((id) => key(id));
      const RequestItems = { [TableName]: { Keys, ConsistentRead } };
      await compare(() =>
        client.send(new BatchGetItemCommand({ RequestItems, ReturnConsumedCapacity })),
      );
      const query = (id: string) => {
        const KeyConditionExpression = 'id = :id';
        const ExpressionAttributeValues = { ':id': { S: id } };
        const what = { TableName, KeyConditionExpression, ExpressionAttributeValues };
        return client.send(new QueryCommand({ ...what, ConsistentRead, ReturnConsumedCapacity }));
      };
      await compare(() => query('g'));
      await compare(() => query('a'));
    }
  });
});
