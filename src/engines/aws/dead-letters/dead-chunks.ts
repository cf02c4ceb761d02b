import {
  ChangeMessageVisibilityBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  type Message,
  type SQSClient,
} from '@aws-sdk/client-sqs';

import type { DayOf } from '../../../domain/day.ts';
import { readMessage } from '../../../pipeline/chunks/queue-message.ts';
import type { ChunkId } from '../ledger/ledger-rows.ts';

const messagesAttribute = 'ApproximateNumberOfMessages';
const pageSize = 10;
/** More letters than these are not looked at. */
const lettersMax = 10_000;
/** So long they are hidden from others, at the most. */
const hiddenSeconds = 120;

/** The chunks that are among the dead letters. What is looked at stays there. */
export async function deadChunks(
  client: Pick<SQSClient, 'send'>,
  QueueUrl: string,
  dayOf: DayOf,
): Promise<{ readonly letters: number; readonly chunks: readonly ChunkId[] }> {
  const found = new Map<string, Message>();
  const request = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [messagesAttribute] });
  const { Attributes = {} } = await client.send(request);
  // An empty queue, which this one should be, would be waited for.
  const isEmpty = Attributes[messagesAttribute] === '0';
  try {
    while (!isEmpty && found.size < lettersMax) {
      const { Messages: messages = [] } = await client.send(
        new ReceiveMessageCommand({
          ...{ QueueUrl, MaxNumberOfMessages: pageSize, VisibilityTimeout: hiddenSeconds },
          // Asked without waiting, SQS looks at some of its servers alone.
          WaitTimeSeconds: 1,
        }),
      );
      if (messages.length === 0) break;
      for (const message of messages) found.set(message.MessageId ?? '', message);
    }
  } finally {
    await showAgain(client, QueueUrl, [...found.values()]);
  }
  const chunks = [...found.values()].flatMap(({ Body = '' }) => {
    const reading = readMessage(Body, dayOf);
    return reading.kind === 'chunk' ? [{ batchId: reading.batchId, index: reading.index }] : [];
  });
  return { letters: found.size, chunks };
}

async function showAgain(
  client: Pick<SQSClient, 'send'>,
  QueueUrl: string,
  messages: readonly Message[],
): Promise<void> {
  for (let at = 0; at < messages.length; at += pageSize) {
    const Entries = messages.slice(at, at + pageSize).map(({ ReceiptHandle }, place) => ({
      ...{ Id: String(place), ReceiptHandle, VisibilityTimeout: 0 },
    }));
    await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries }));
  }
}
