import {
  CreateTableCommand,
  DynamoDBClient,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs';

import { clientSettings } from '../client-settings.ts';
import type { QueueDescription, StackDescription, TableDescription } from './stack-description.ts';

/** Creates the tables, buckets and queues of a stack; they must not exist yet. */
export async function createResources(stack: StackDescription, endpoint: string): Promise<void> {
  const settings = clientSettings(endpoint, stack.region, 'deployment');
  const dynamoDb = new DynamoDBClient(settings);
  const s3 = new S3Client({ ...settings, forcePathStyle: true });
  const sqs = new SQSClient(settings);
  try {
    for (const table of stack.tables) await createTable(dynamoDb, table);
    for (const Bucket of stack.buckets) await s3.send(new CreateBucketCommand({ Bucket }));
    // In sequence: a redrive policy names a queue that must exist.
    for (const queue of stack.queues) await createQueue(sqs, queue);
  } finally {
    for (const client of [dynamoDb, s3, sqs]) client.destroy();
  }
}

async function createTable(client: DynamoDBClient, table: TableDescription): Promise<void> {
  const { name: TableName, timeToLiveAttribute: AttributeName } = table;
  await client.send(
    new CreateTableCommand({
      TableName,
      KeySchema: [...table.keys],
      AttributeDefinitions: [...table.attributes],
      BillingMode: 'PAY_PER_REQUEST',
    }),
  );
  await waitUntilTableExists({ client, maxWaitTime: 10, minDelay: 1 }, { TableName });
  if (AttributeName === undefined) return;
  const TimeToLiveSpecification = { AttributeName, Enabled: true };
  await client.send(new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification }));
}

async function createQueue(client: SQSClient, queue: QueueDescription): Promise<void> {
  const { name: QueueName, attributes: Attributes } = queue;
  // fauxqs returns a URL with its own host, but finds a queue by the name in any URL; the functions
  // use one that goes through the wire.
  await client.send(new CreateQueueCommand({ QueueName, Attributes }));
}
