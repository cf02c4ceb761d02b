import { createHash, randomUUID } from 'node:crypto';

import {
  CreateTableCommand,
  DynamoDBClient,
  GetItemCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import {
  CreateBucketCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, beforeEach, expect } from 'vitest';

import { clientSettings } from '../../../infra/local/client-settings.ts';
import {
  startWire,
  type AwsReply,
  type Fault,
  type Wire,
} from '../../../infra/local/emulators/wire.ts';
import type { Permissions } from '../../../infra/local/emulators/permissions.ts';
import type { AwsCall } from '../../../infra/local/emulators/wire-call.ts';
import type { StackEmulators } from '../../../infra/local/local-stack.ts';
import { openEmulators, singleTry } from '../../support/aws/aws-store.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Java');

let emulators: StackEmulators;
let wire: Wire;
let dynamoDb: DynamoDBClient;
let s3: S3Client;
let sqs: SQSClient;
/** What happens to the next calls, one after the other. */
const faults: (Fault | undefined)[] = [];
const seen: { call: AwsCall; reply: AwsReply }[] = [];
/** What the caller may do; undefined: all. */
let permissions: Permissions | undefined;
const refused: string[] = [];
const TableName = `wire-${randomUUID()}`;
const QueueUrl = 'http://127.0.0.1/000000000000/queue';

beforeAll(async () => {
  emulators = await openEmulators();
  wire = await startWire({
    ...emulators,
    fault: () => faults.shift(),
    permissions: () => permissions,
    onRefused: (what) => void refused.push(what),
    observe: (call, reply) => void seen.push({ call, reply }),
  });
  const settings = { ...clientSettings(wire.url, 'us-east-1', 'process3'), ...singleTry };
  dynamoDb = new DynamoDBClient(settings);
  s3 = new S3Client({ ...settings, forcePathStyle: true });
  sqs = new SQSClient(settings);
  await dynamoDb.send(
    new CreateTableCommand({
      TableName,
      KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
      AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
      BillingMode: 'PAY_PER_REQUEST',
    }),
  );
  await s3.send(new CreateBucketCommand({ Bucket: 'bucket' }));
  await sqs.send(new CreateQueueCommand({ QueueName: 'queue' }));
});

afterAll(async () => {
  for (const client of [dynamoDb, s3, sqs]) client.destroy();
  await wire.stop();
  await emulators.stop();
});

beforeEach(() => {
  faults.splice(0);
  seen.splice(0);
  refused.splice(0);
  permissions = undefined;
});

/** Adds one to a counter of its own, as often as it is carried out. */
const addTo = (id: string) =>
  dynamoDb.send(
    new UpdateItemCommand({
      TableName,
      Key: { id: { S: id } },
      UpdateExpression: 'ADD #n :one',
      ExpressionAttributeNames: { '#n': 'n' },
      ExpressionAttributeValues: { ':one': { N: '1' } },
    }),
  );

async function counted(id: string): Promise<number> {
  const { Item } = await dynamoDb.send(
    new GetItemCommand({ TableName, Key: { id: { S: id } }, ConsistentRead: true }),
  );
  return Number(Item?.['n']?.N ?? 0);
}

describe('calls pass the wire', () => {
  it('and are known by service, operation and caller', async () => {
    await counted('x');
    await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }));
    const Put = { TableName, Item: { id: { S: 'y' } } };
    await dynamoDb.send(new TransactWriteItemsCommand({ TransactItems: [{ Put }] }));
    const object = { Bucket: 'bucket', Key: 'raw/a b?.json' };
    await s3.send(new PutObjectCommand({ ...object, Body: 'x' }));
    await s3.send(new HeadObjectCommand(object));
    await (await s3.send(new GetObjectCommand(object))).Body?.transformToString();
    await s3.send(new ListObjectsV2Command({ Bucket: 'bucket', Prefix: 'raw/' }));
    expect(seen.map(({ call }) => `${call.service} ${call.operation}`)).toEqual([
      ...['dynamodb GetItem', 'sqs GetQueueAttributes', 'dynamodb TransactWriteItems'],
      ...['s3 PutObject', 's3 HeadObject', 's3 GetObject', 's3 ListObjectsV2'],
    ]);
    for (const { call, reply } of seen) {
      expect(call).toMatchObject({ caller: 'process', environmentId: 'process3' });
      expect(call.requestBytes).toBe(call.requestBody.length);
      expect(reply.status).toBe(200);
    }
  });

  it.each([0, 1, 70_000, 5_000_000])('byte for byte, %i bytes and back', async (size) => {
    const Body = Buffer.from(Array.from({ length: size }, (_, index) => (index * 31) % 256));
    const object = { Bucket: 'bucket', Key: `bytes-${size}` };
    await s3.send(new PutObjectCommand({ ...object, Body }));
    const stored = await s3.send(new GetObjectCommand(object));
    const bytes = (await stored.Body?.transformToByteArray()) ?? new Uint8Array();
    const digest = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');
    expect(digest(bytes)).toBe(digest(Body));
    expect((await s3.send(new HeadObjectCommand(object))).ContentLength).toBe(size);
  });

  it('only if the caller may make them, and else get the error of the service', async () => {
    permissions = { refusal: ({ operation }) => `no ${operation}`, tellsMissing: () => true };
    await expect(addTo('refused')).rejects.toMatchObject({
      ...{ name: 'AccessDeniedException', message: 'no UpdateItem' },
    });
    const queueRequest = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] });
    await expect(sqs.send(queueRequest)).rejects.toMatchObject({ name: 'AccessDenied' });
    const put = new PutObjectCommand({ Bucket: 'bucket', Key: 'refused', Body: 'x' });
    await expect(s3.send(put)).rejects.toMatchObject({ name: 'AccessDenied' });
    expect(refused).toEqual(['no UpdateItem', 'no GetQueueAttributes', 'no PutObject']);
    expect(seen).toEqual([]);
    permissions = undefined;
    expect(await counted('refused')).toBe(0);
  });

  it('and do not learn that an object is missing if they may not list the bucket', async () => {
    const get = new GetObjectCommand({ Bucket: 'bucket', Key: 'missing' });
    permissions = { refusal: () => undefined, tellsMissing: () => false };
    await expect(s3.send(get)).rejects.toMatchObject({ name: 'AccessDenied' });
    permissions = { refusal: () => undefined, tellsMissing: () => true };
    await expect(s3.send(get)).rejects.toMatchObject({ name: 'NoSuchKey' });
  });

  it('with the errors of the service', async () => {
    const missing = new HeadObjectCommand({ Bucket: 'bucket', Key: 'missing' });
    await expect(s3.send(missing)).rejects.toMatchObject({ name: 'NotFound' });
    const Put = {
      ...{ TableName, Item: { id: { S: 'y' } } },
      ConditionExpression: 'attribute_not_exists(id)',
    };
    const transaction = new TransactWriteItemsCommand({ TransactItems: [{ Put }] });
    await expect(dynamoDb.send(transaction)).rejects.toMatchObject({
      name: 'TransactionCanceledException',
      CancellationReasons: [{ Code: 'ConditionalCheckFailed' }],
    });
  });
});

describe('a fault', () => {
  it('refuses in the name of DynamoDB, of SQS and of S3', async () => {
    faults.push({ kind: 'refuse', status: 400, code: 'ProvisionedThroughputExceededException' });
    await expect(addTo('refused')).rejects.toMatchObject({
      name: 'ProvisionedThroughputExceededException',
    });
    faults.push({ kind: 'refuse', status: 403, code: 'RequestThrottled' });
    const message = new SendMessageCommand({ QueueUrl, MessageBody: 'x' });
    await expect(sqs.send(message)).rejects.toMatchObject({ name: 'RequestThrottled' });
    faults.push({ kind: 'refuse', status: 503, code: 'SlowDown' });
    const object = new GetObjectCommand({ Bucket: 'bucket', Key: 'missing' });
    await expect(s3.send(object)).rejects.toMatchObject({
      name: 'SlowDown',
      $metadata: { httpStatusCode: 503 },
    });
    expect(await counted('refused')).toBe(0);
  });

  it('holds a call back', async () => {
    faults.push({ kind: 'hold', ms: 150 });
    const began = performance.now();
    await addTo('held');
    expect(performance.now() - began).toBeGreaterThan(145);
    expect(await counted('held')).toBe(1);
  });

  it('loses the reply of a call that was carried out', async () => {
    faults.push({ kind: 'lose-reply' });
    await expect(addTo('lost')).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(seen[0]?.reply.status).toBe(200);
    expect(await counted('lost')).toBe(1);
  });

  it('cuts a call off before it is carried out', async () => {
    faults.push({ kind: 'cut' });
    await expect(addTo('cut')).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(await counted('cut')).toBe(0);
  });

  it('carries a call out twice', async () => {
    faults.push({ kind: 'repeat' });
    await addTo('twice');
    expect(await counted('twice')).toBe(2);
  });
});
