import {
  GetQueueAttributesCommand,
  type QueueAttributeName,
  type SQSClient,
} from '@aws-sdk/client-sqs';

import type { PipelineStatus } from '../../pipeline/ports.ts';

const counts: QueueAttributeName[] = [
  'ApproximateNumberOfMessages',
  'ApproximateNumberOfMessagesDelayed',
  'ApproximateNumberOfMessagesNotVisible',
];

/** How many messages wait or are being counted, and how many are dead; as SQS knows it, roughly. */
export async function awsStatus(
  client: Pick<SQSClient, 'send'>,
  queueUrl: string,
  deadLetterQueueUrl: string,
): Promise<PipelineStatus> {
  const [amount, deadLetters] = await Promise.all([
    messagesIn(client, queueUrl),
    messagesIn(client, deadLetterQueueUrl),
  ]);
  return { unavailable: undefined, pending: { unit: 'messages', amount }, deadLetters };
}

async function messagesIn(client: Pick<SQSClient, 'send'>, QueueUrl: string): Promise<number> {
  const { Attributes = {} } = await client.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: counts }),
  );
  return counts.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0);
}
