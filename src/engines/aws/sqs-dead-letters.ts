import {
  ChangeMessageVisibilityBatchCommand,
  ReceiveMessageCommand,
  type Message,
} from '@aws-sdk/client-sqs';

import type { DeadLetter, DeadLetters, Letter, Parking } from '../../pipeline/ports.ts';
import { sendAll, type SqsOptions } from './sqs-batches.ts';

/** The attributes by which a dead letter tells what became of it. */
export const letterAttributes = {
  reason: 'reason',
  failedAt: 'failed_at',
  /** A redrive gives a message another id. By this it is known for the one it was. */
  originalId: 'original_message_id',
  /** And by this for as old as it is. */
  sentAt: 'original_sent_at',
} as const;

/** SQS counts attributes as a part of the message, and refuses control characters in them. */
const reasonCharactersMax = 500;
const pageSize = 10;
/** A listing shows no more than this, and hides it from other readers for so long. */
const listedMax = 1_000;
const hiddenSeconds = 30;

/** The dead-letter queue: bodies as they came, each with why it was put there. */
export function sqsDeadLetters(options: SqsOptions): DeadLetters & Parking {
  return {
    async park(letters) {
      const { sent } = await sendAll(options, letters.map(messageOf(options.backoff.now())));
      return new Set(letters.filter((_, at) => sent.has(at)).map(({ messageId }) => messageId));
    },

    async list() {
      const { client, queueUrl } = options;
      const found = new Map<string, Message>();
      while (found.size < listedMax) {
        const { Messages: messages = [] } = await client.send(
          new ReceiveMessageCommand({
            QueueUrl: queueUrl,
            MaxNumberOfMessages: pageSize,
            VisibilityTimeout: hiddenSeconds,
            MessageAttributeNames: ['All'],
            MessageSystemAttributeNames: ['SentTimestamp', 'ApproximateReceiveCount'],
          }),
        );
        if (messages.length === 0) break;
        for (const message of messages) found.set(message.MessageId ?? '', message);
      }
      await showAgain(options, [...found.values()]);
      return [...found.values()].map(letterOf);
    },
  };
}

function messageOf(now: number) {
  return ({ originalId, sentAt, body, reason }: Letter) => ({
    body,
    attributes: {
      [letterAttributes.reason]: printable(reason).slice(0, reasonCharactersMax),
      [letterAttributes.failedAt]: new Date(now).toISOString(),
      [letterAttributes.originalId]: originalId,
      [letterAttributes.sentAt]: new Date(sentAt).toISOString(),
    },
  });
}

/** What came to the queue by SQS's own redrive has no reason with it: nobody lived to tell. */
function letterOf({
  MessageId = '',
  MessageAttributes = {},
  Attributes = {},
}: Message): DeadLetter {
  const attribute = (name: string) => MessageAttributes[name]?.StringValue;
  const failedAt = attribute(letterAttributes.failedAt);
  return {
    id: attribute(letterAttributes.originalId) ?? MessageId,
    reason:
      attribute(letterAttributes.reason) ??
      'not_counted: it was received again and again, and whoever received it came to no end',
    failedAt: failedAt === undefined ? Number(Attributes.SentTimestamp) : Date.parse(failedAt),
  };
}

async function showAgain({ client, queueUrl }: SqsOptions, messages: readonly Message[]) {
  for (let at = 0; at < messages.length; at += pageSize) {
    const Entries = messages.slice(at, at + pageSize).map(({ ReceiptHandle }, place) => ({
      Id: String(place),
      ReceiptHandle,
      VisibilityTimeout: 0,
    }));
    await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: queueUrl, Entries }));
  }
}

function printable(text: string): string {
  return text.replace(/[^\u0020-\ud7ff\ue000-\ufffd]/g, '\ufffd');
}
