import {
  GetQueueAttributesCommand,
  type QueueAttributeName,
  type SQSClient,
} from '@aws-sdk/client-sqs';

const depthAttributes: QueueAttributeName[] = [
  'ApproximateNumberOfMessages',
  'ApproximateNumberOfMessagesDelayed',
  'ApproximateNumberOfMessagesNotVisible',
];

/** The approximate number of messages that wait in a queue, are delayed or are in flight. */
export async function messagesIn(
  client: Pick<SQSClient, 'send'>,
  QueueUrl: string,
): Promise<number> {
  const { Attributes = {} } = await client.send(
    new GetQueueAttributesCommand({ QueueUrl, AttributeNames: depthAttributes }),
  );
  return depthAttributes.reduce((sum, name) => sum + Number(Attributes[name] ?? 0), 0);
}
