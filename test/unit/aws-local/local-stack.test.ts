import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';

import { DynamoDBClient, GetItemCommand } from '@aws-sdk/client-dynamodb';
import { expect, onTestFinished } from 'vitest';

import { clientSettings } from '../../../infra/local/client-settings.ts';
import type { InvocationReport } from '../../../infra/local/functions/lambda-runtime.ts';
import type { LocalStackOptions } from '../../../infra/local/local-stack.ts';
import { bundles, eventually, packageUrl, standInTemplate } from './stand-ins.ts';
import { startTestStack } from '../../support/aws/test-stack.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Java');

const imports = `
  import { DynamoDBClient, GetItemCommand, TransactWriteItemsCommand } from '${packageUrl('@aws-sdk/client-dynamodb')}';
  import { S3Client, PutObjectCommand } from '${packageUrl('@aws-sdk/client-s3')}';
  import { SQSClient, SendMessageCommand } from '${packageUrl('@aws-sdk/client-sqs')}';
  const { QUEUE_URL: QueueUrl, LEDGER_TABLE: TableName, RAW_BUCKET: Bucket } = process.env;`;

/** A pipeline in small: bodies are counted by their text, each message once. */
const sources = {
  ingest: `${imports}
    const sqs = new SQSClient(), s3 = new S3Client({ forcePathStyle: true });
    export const handler = async ({ body }) => {
      await s3.send(new PutObjectCommand({ Bucket, Key: 'raw/' + crypto.randomUUID(), Body: body }));
      const MessageBody = JSON.stringify({ id: crypto.randomUUID(), body });
      await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }));
      return { statusCode: 202 };
    };`,
  process: `${imports}
    const dynamoDb = new DynamoDBClient();
    export const handler = async ({ Records }) => {
      const batchItemFailures = [];
      for (const { messageId, body: text } of Records) {
        const { id, body } = JSON.parse(text);
        try {
          await dynamoDb.send(new TransactWriteItemsCommand({ TransactItems: [
            { Put: { TableName, Item: { id: { S: id }, entry: { S: 'seen' } }, ConditionExpression: 'attribute_not_exists(id)' } },
            { Update: { TableName, Key: { id: { S: body }, entry: { S: 'count' } }, UpdateExpression: 'ADD n :one', ExpressionAttributeValues: { ':one': { N: '1' } } } },
          ] }));
        } catch (error) {
          if (error.CancellationReasons?.[0].Code === 'ConditionalCheckFailed') continue;
          batchItemFailures.push({ itemIdentifier: messageId });
        }
      }
      return { batchItemFailures };
    };`,
  query: `${imports}
    const dynamoDb = new DynamoDBClient();
    export const handler = async ({ rawPath }) => {
      const Key = { id: { S: rawPath.slice(1) }, entry: { S: 'count' } };
      const { Item } = await dynamoDb.send(new GetItemCommand({ TableName, Key, ConsistentRead: true }));
      return { count: Number(Item?.n.N ?? 0) };
    };`,
  sweep: 'export const handler = async () => process.env.SWEEP_AFTER_SECONDS;',
};

async function start(options: Partial<LocalStackOptions> = {}) {
  const stack = await startTestStack({
    ...{ template: standInTemplate(), bundlesDirectory: bundles(sources) },
    ...options,
  });
  onTestFinished(() => stack.stop(0));
  const post = async (body: string) => {
    const headers = { 'content-type': 'text/plain' };
    return (await fetch(`${stack.url}/ingest`, { method: 'POST', headers, body })).status;
  };
  const count = async (name: string) => {
    const answer = await fetch(`${stack.url}/${name}`);
    return ((await answer.json()) as { count: number }).count;
  };
  return { stack, post, count };
}

describe('a stack on this machine', () => {
  it('takes a request through its functions, bucket, queue and table', async () => {
    const calls = new Set<string>();
    const reports: InvocationReport[] = [];
    const { stack, post, count } = await start({
      observeCall: ({ caller, operation }) => void calls.add(`${caller} ${operation}`),
      onReport: (report) => void reports.push(report),
      variables: { SWEEP_AFTER_SECONDS: '7' },
    });
    expect(await post('apple')).toBe(202);
    expect(await post('apple')).toBe(202);
    await eventually(async () => (await count('apple')) === 2);
    expect(await stack.runSchedules()).toEqual([{ kind: 'succeeded', payload: '"7"' }]);
    expect([...calls].filter((each) => !each.startsWith('deployment')).sort()).toEqual([
      ...['eventsource DeleteMessageBatch', 'eventsource ReceiveMessage'],
      ...['ingest PutObject', 'ingest SendMessage'],
      ...['process TransactWriteItems', 'query GetItem'],
    ]);
    const names = new Set(reports.map(({ functionName }) => functionName));
    expect([...names].sort()).toEqual(['ingest', 'process', 'query', 'sweep']);
    // Who has a client can look for himself.
    const client = new DynamoDBClient(clientSettings(stack.endpoint, 'us-east-1', 'test'));
    onTestFinished(() => client.destroy());
    const Key = { id: { S: 'apple' }, entry: { S: 'count' } };
    const TableName = stack.description.tables[0]?.name;
    const { Item } = await client.send(new GetItemCommand({ TableName, Key }));
    expect(Item?.['n']).toEqual({ N: '2' });
  });

  it('counts exactly though messages come twice, in any order, and the function is killed', async () => {
    let killed = 0;
    const { Mapping } = standInTemplate().Resources;
    const { post, count } = await start({
      disorder: { seed: 5, duplicate: 0.4, reorder: 1, kill: 0.3, laterMsMax: 500 },
      template: standInTemplate({
        DeadLetters: { Type: 'AWS::SQS::Queue' },
        Queue: { Type: 'AWS::SQS::Queue', Properties: { VisibilityTimeout: 1 } },
        Mapping: {
          Type: 'AWS::Lambda::EventSourceMapping',
          Properties: { ...Mapping?.Properties, BatchSize: 5 },
        },
      }),
      onReport: ({ outcome }) => void (killed += outcome === 'killed' ? 1 : 0),
    });
    for (let round = 0; killed < 2 || round < 2; round++) {
      const posted = await Promise.all(Array.from({ length: 20 }, () => post(`round-${round}`)));
      // The test would wait in vain for a batch that was not accepted.
      expect(new Set(posted)).toEqual(new Set([202]));
      await eventually(async () => (await count(`round-${round}`)) >= 20);
      expect(await count(`round-${round}`)).toBe(20);
    }
  });

  it('leaves nothing running where its port is taken', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void taken.close());
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    await expect(start({ port })).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});
