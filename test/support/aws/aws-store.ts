import { randomUUID } from 'node:crypto';
import { Agent } from 'node:http';

import {
  BatchWriteItemCommand,
  CreateTableCommand,
  DescribeTableCommand,
  DynamoDBClient,
  ScanCommand,
  type AttributeValue,
} from '@aws-sdk/client-dynamodb';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs';

import { inject } from 'vitest';

import { startEmulators, startFauxqs } from '../../../infra/local/emulators/emulators.ts';
import type { StackEmulators } from '../../../infra/local/local-stack.ts';
import { compareCounters, type CounterRow } from '../../../src/domain/counter.ts';

export interface AwsEmulators {
  readonly dynamodb: DynamoDBClient;
  readonly s3: S3Client;
  readonly sqs: SQSClient;
  /** What the SDK of a function reads from its environment. */
  readonly environment: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

/**
 * For SDK clients that try once. DynamoDB Local closes a connection that is idle for 30 s, and a client
 * whose request crosses this fails with "socket hang up". So the client closes it long before.
 */
export const singleTry = {
  maxAttempts: 1,
  requestHandler: { httpAgent: new Agent({ keepAlive: true, timeout: 1_000 }) },
} as const;

/** DynamoDB Local and fauxqs, with clients that try once. */
export async function startAws(): Promise<AwsEmulators> {
  const emulators = await openEmulators();
  const { dynamoDbUrl, fauxqsUrl } = emulators;
  const region = 'eu-central-1';
  const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };
  const common = { ...singleTry, region, credentials };
  const dynamodb = new DynamoDBClient({ ...common, endpoint: dynamoDbUrl });
  const s3 = new S3Client({ ...common, endpoint: fauxqsUrl, forcePathStyle: true });
  const sqs = new SQSClient({ ...common, endpoint: fauxqsUrl });
  return {
    dynamodb,
    s3,
    sqs,
    environment: {
      AWS_ENDPOINT_URL_DYNAMODB: dynamoDbUrl,
      AWS_ENDPOINT_URL_S3: fauxqsUrl,
      AWS_ENDPOINT_URL_SQS: fauxqsUrl,
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    },
    async stop() {
      for (const client of [dynamodb, s3, sqs]) client.destroy();
      await emulators.stop();
    },
  };
}

/** The run's DynamoDB Local, if it has one, with a fauxqs of its own. */
export async function openEmulators(): Promise<StackEmulators> {
  const dynamoDbUrl = inject('dynamoDbUrl');
  if (dynamoDbUrl === undefined) return startEmulators();
  const fauxqs = await startFauxqs();
  const failed = Promise.withResolvers<never>().promise;
  return { dynamoDbUrl, fauxqsUrl: fauxqs.url, failed, stop: () => fauxqs.stop() };
}

/** The tables, the bucket and the queues of one store. */
export interface AwsStore {
  readonly countersTable: string;
  readonly ledgerTable: string;
  readonly bucket: string;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl: string;
}

/** A new, empty store. */
export async function createStore(aws: AwsEmulators): Promise<AwsStore> {
  const { dynamodb, s3 } = aws;
  const name = `store-${randomUUID()}`;
  const countersTable = `${name}-counters`;
  const ledgerTable = `${name}-ledger`;
  const [, , , queueUrl, deadLetterQueueUrl] = await Promise.all([
    dynamodb.send(new CreateTableCommand(table(countersTable, 'date', 'type_state'))),
    dynamodb.send(new CreateTableCommand(table(ledgerTable, 'id', 'entry'))),
    s3.send(new CreateBucketCommand({ Bucket: name })),
    createQueue(aws, name),
    createQueue(aws, `${name}-dead`),
  ]);
  return { countersTable, ledgerTable, bucket: name, queueUrl, deadLetterQueueUrl };
}

async function createQueue({ sqs, environment }: AwsEmulators, QueueName: string): Promise<string> {
  const { QueueUrl = '' } = await sqs.send(new CreateQueueCommand({ QueueName }));
  // The emulator names a host that may not resolve, and the SDK uses the URL's host.
  return new URL(new URL(QueueUrl).pathname, environment['AWS_ENDPOINT_URL_SQS']).href;
}

function table(TableName: string, partitionKey: string, sortKey: string) {
  return {
    TableName,
    BillingMode: 'PAY_PER_REQUEST' as const,
    AttributeDefinitions: [partitionKey, sortKey].map((AttributeName) => ({
      AttributeName,
      AttributeType: 'S' as const,
    })),
    KeySchema: [
      { AttributeName: partitionKey, KeyType: 'HASH' as const },
      { AttributeName: sortKey, KeyType: 'RANGE' as const },
    ],
  };
}

/** The most writes of a request. */
const batchWriteMax = 25;

/** A new table with the current rows of another one, as a restore makes it. Returns its name. */
export async function copyTable(client: DynamoDBClient, TableName: string): Promise<string> {
  const copy = `copy-${randomUUID()}`;
  const { Table } = await client.send(new DescribeTableCommand({ TableName }));
  const { KeySchema, AttributeDefinitions } = Table ?? {};
  const keys = { KeySchema, AttributeDefinitions };
  const BillingMode = 'PAY_PER_REQUEST';
  await client.send(new CreateTableCommand({ TableName: copy, ...keys, BillingMode }));
  const writes = (await scan(client, TableName)).map((Item) => ({ PutRequest: { Item } }));
  for (let from = 0; from < writes.length; from += batchWriteMax) {
    const RequestItems = { [copy]: writes.slice(from, from + batchWriteMax) };
    await client.send(new BatchWriteItemCommand({ RequestItems }));
  }
  return copy;
}

/** Every row of a table. */
export async function scan(
  client: DynamoDBClient,
  TableName: string,
): Promise<Record<string, AttributeValue>[]> {
  const items: Record<string, AttributeValue>[] = [];
  let ExclusiveStartKey: Record<string, AttributeValue> | undefined;
  do {
    const page = await client.send(new ScanCommand({ TableName, ExclusiveStartKey }));
    items.push(...(page.Items ?? []));
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey !== undefined);
  return items;
}

/** Reads the counters directly from the table, without code of the pipeline. */
export async function readCountersDirectly(
  client: DynamoDBClient,
  TableName: string,
): Promise<CounterRow[]> {
  const rows = (await scan(client, TableName)).map((item) => ({
    date: item['date']?.S ?? '',
    type: item['type']?.S ?? '',
    state: item['state']?.S ?? '',
    count: Number(item['count']?.N),
  }));
  return rows.sort(compareCounters);
}
