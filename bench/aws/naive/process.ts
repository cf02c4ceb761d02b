import { DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';

// One write for each message, all of a batch concurrently. Messages that are delivered twice, or repeated
// by the SDK after a lost response, count twice: compare the price of the ledger with this.

const { COUNTERS_TABLE } = process.env;
const dynamodb = new DynamoDBClient();

interface Item {
  readonly type: string;
  readonly state: string;
  readonly timestamp: string;
}

export async function handler({ Records }: SQSEvent): Promise<SQSBatchResponse> {
  const results = await Promise.allSettled(
    Records.map(({ body }) => count(JSON.parse(body) as Item)),
  );
  const failed = Records.filter((_, index) => results[index]?.status === 'rejected');
  return { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) };
}

async function count({ type, state, timestamp }: Item): Promise<void> {
  await dynamodb.send(
    new UpdateItemCommand({
      TableName: COUNTERS_TABLE,
      Key: { date: { S: timestamp.slice(0, 10) }, type_state: { S: `${type}#${state}` } },
      UpdateExpression: 'SET #type = :type, #state = :state ADD #count :one',
      ExpressionAttributeNames: { '#type': 'type', '#state': 'state', '#count': 'count' },
      ExpressionAttributeValues: {
        ':type': { S: type },
        ':state': { S: state },
        ':one': { N: '1' },
      },
    }),
  );
}
