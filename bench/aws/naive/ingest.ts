import { randomUUID } from 'node:crypto';

import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { SendMessageBatchCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';

// The usual architecture: the body in S3, and a message for each item. It does the minimum, without
// deduplication.

const { RAW_BUCKET, QUEUE_URL, MESSAGES_PER_SEND, AWS_ENDPOINT_URL_S3 } = process.env;
const s3 = new S3Client({ forcePathStyle: AWS_ENDPOINT_URL_S3 !== undefined });
const sqs = new SQSClient();
const entriesMax = Number(MESSAGES_PER_SEND);

interface Batch {
  readonly processed_devices: readonly object[];
}

export async function handler(
  event: APIGatewayProxyEventV2,
): Promise<APIGatewayProxyStructuredResultV2> {
  const body = Buffer.from(event.body ?? '', event.isBase64Encoded ? 'base64' : 'utf8');
  const { processed_devices: items } = JSON.parse(body.toString()) as Batch;
  const key = `raw/${new Date().toISOString()}-${randomUUID()}.json`;
  await s3.send(new PutObjectCommand({ Bucket: RAW_BUCKET, Key: key, Body: body }));
  const sends: Promise<void>[] = [];
  for (let index = 0; index < items.length; index += entriesMax) {
    sends.push(send(items.slice(index, index + entriesMax)));
  }
  await Promise.all(sends);
  const answer = { status: 'accepted', raw_key: key, enqueued: items.length };
  return { statusCode: 200, body: JSON.stringify(answer) };
}

async function send(items: readonly object[]): Promise<void> {
  const Entries = items.map((item, index) => ({
    Id: String(index),
    MessageBody: JSON.stringify(item),
  }));
  const { Failed = [] } = await sqs.send(
    new SendMessageBatchCommand({ QueueUrl: QUEUE_URL, Entries }),
  );
  if (Failed.length > 0) throw new Error(`SQS refused ${Failed.length} messages`);
}
