import {
  GetQueueAttributesCommand,
  type QueueAttributeName,
  type SQSClient,
} from '@aws-sdk/client-sqs';

const counts: QueueAttributeName[] = [
  'ApproximateNumberOfMessages',
  'ApproximateNumberOfMessagesDelayed',
  'ApproximateNumberOfMessagesNotVisible',
];

/** How many messages wait in a queue or are being worked on, as SQS knows it: roughly. */
export async function messagesIn(
  client: Pick<SQSClient, 'send'>,
  QueueUrl: string,
): Promise<number> {
  const { Attributes = {} } = await client.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: counts }),
  );
  return counts.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0);
}
