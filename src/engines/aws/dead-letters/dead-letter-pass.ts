import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  type Message,
  type SQSClient,
} from '@aws-sdk/client-sqs';

import {
  readDeadLetterContent,
  type DeadLetterContent,
} from '../../../pipeline/chunks/letter-content.ts';
import { deadLetterAttributes } from './dead-letter-queue.ts';

/** A letter as it lies in the dead-letter queue. */
export interface StoredDeadLetter {
  /** Of the message when it first came, which a redrive keeps. */
  readonly id: string;
  readonly content: DeadLetterContent;
  readonly body: string;
  readonly reason: string;
  /** Milliseconds since 1970; undefined where SQS itself moved the message, and nobody noted it. */
  readonly firstFailedAt: number | undefined;
  readonly lastFailedAt: number | undefined;
  /** When it was first sent. */
  readonly sentAt: number;
  /** How often it was received, by whomever. */
  readonly receives: number;
  /** All attributes of the message that are text. */
  readonly attributes: Readonly<Record<string, string>>;
}

export interface PassOptions {
  readonly client: Pick<SQSClient, 'send'>;
  /** Of the dead-letter queue. */
  readonly queueUrl: string;
  readonly now: () => number;
  /** How many letters at most. SQS lets 120,000 messages be received and not deleted, by all. */
  readonly limit: number;
  /** So long SQS is asked to wait for a letter: from 1 second on it asks all of its servers. */
  readonly waitSeconds: number;
}

const pageSize = 10;
/** What is in hand at its end is shown to others again; after a kill that takes until then. */
const hiddenSecondsLeast = 60;
const lettersPerSecondLeast = 50;
const closingSeconds = 20;

interface Received extends StoredDeadLetter {
  readonly messageId: string;
}

/**
 * Goes over the letters, some at a time, each once, in the order in which SQS gives them, which is
 * none. `visit` returns the letters that are done with: they are deleted at once, all others are
 * there again afterwards. Returns how many there were, and whether there may be more: it ends at
 * the limit, or after a time in which the letters that it has seen are hidden.
 */
export async function forEachDeadLetter(
  options: PassOptions,
  visit: (letters: readonly StoredDeadLetter[]) => Promise<ReadonlySet<StoredDeadLetter>>,
): Promise<{ readonly letters: number; readonly isMore: boolean }> {
  const { now, limit } = options;
  const hiddenSeconds = hiddenSecondsLeast + Math.ceil(limit / lettersPerSecondLeast);
  const endsAt = now() + (hiddenSeconds - closingSeconds) * 1_000;
  const seen = new Set<string>();
  /** The last handle of each message that is kept. */
  const kept = new Map<string, string>();
  const work = async () => {
    while (seen.size < limit && now() < endsAt) {
      const messages = await receive(options, Math.min(pageSize, limit - seen.size), hiddenSeconds);
      if (messages.length === 0) return false;
      const fresh: Received[] = [];
      for (const message of messages) {
        const letter = letterOf(message);
        if (!seen.has(letter.messageId)) fresh.push(letter);
        seen.add(letter.messageId);
        kept.set(letter.messageId, message.ReceiptHandle ?? '');
      }
      if (fresh.length === 0) continue;
      const done = await visit(fresh);
      const gone = fresh.filter((letter) => done.has(letter)).map(({ messageId }) => messageId);
      await remove(
        options,
        gone.map((id) => kept.get(id) ?? ''),
      );
      for (const id of gone) kept.delete(id);
    }
    return true;
  };
  let isMore: boolean;
  try {
    isMore = await work();
  } catch (error) {
    // Nobody should have to wait for the letters before trying again; but that is not what failed.
    await Promise.allSettled([showAgain(options, [...kept.values()])]);
    throw error;
  }
  await showAgain(options, [...kept.values()]);
  return { letters: seen.size, isMore };
}

async function receive(
  { client, queueUrl, waitSeconds }: PassOptions,
  MaxNumberOfMessages: number,
  VisibilityTimeout: number,
): Promise<Message[]> {
  const { Messages = [] } = await client.send(
    new ReceiveMessageCommand({
      ...{ QueueUrl: queueUrl, MaxNumberOfMessages, VisibilityTimeout },
      WaitTimeSeconds: waitSeconds,
      MessageAttributeNames: ['All'],
      MessageSystemAttributeNames: ['SentTimestamp', 'ApproximateReceiveCount'],
    }),
  );
  return Messages;
}

function letterOf(message: Message): Received {
  const { MessageId: messageId = '', Body: body = '', Attributes = {} } = message;
  const attributes = Object.fromEntries(
    Object.entries(message.MessageAttributes ?? {}).flatMap(([name, { StringValue: text }]) =>
      text === undefined ? [] : [[name, text]],
    ),
  );
  const timeOf = (name: string) => {
    const time = Date.parse(attributes[name] ?? '');
    return Number.isNaN(time) ? undefined : time;
  };
  const receives = Number(Attributes.ApproximateReceiveCount);
  const lastFailedAt = timeOf(deadLetterAttributes.failedAt);
  return {
    ...{ messageId, body, receives, lastFailedAt, attributes },
    id: attributes[deadLetterAttributes.originalId] ?? messageId,
    content: readDeadLetterContent(body),
    reason: attributes[deadLetterAttributes.reason] ?? reasonOfSqs(receives),
    firstFailedAt: timeOf(deadLetterAttributes.firstFailedAt) ?? lastFailedAt,
    sentAt: timeOf(deadLetterAttributes.sentAt) ?? Number(Attributes.SentTimestamp),
  };
}

/** What came to the queue by SQS's own redrive has no reason with it: nobody lived to tell. */
function reasonOfSqs(receives: number): string {
  return `not_counted: SQS put it there; it was received again and again (${receives} times by now), and whoever received it came to no end`;
}

/** What cannot be deleted now is met again, and then does no harm. */
async function remove(options: PassOptions, handles: readonly string[]): Promise<void> {
  const { client, queueUrl: QueueUrl } = options;
  for (const Entries of entriesOf(handles)) {
    await client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
  }
}

async function showAgain(options: PassOptions, handles: readonly string[]): Promise<void> {
  const { client, queueUrl: QueueUrl } = options;
  for (const page of entriesOf(handles)) {
    const Entries = page.map((entry) => ({ ...entry, VisibilityTimeout: 0 }));
    await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries }));
  }
}

function* entriesOf(handles: readonly string[]) {
  for (let at = 0; at < handles.length; at += pageSize) {
    yield handles
      .slice(at, at + pageSize)
      .map((ReceiptHandle, place) => ({ Id: String(place), ReceiptHandle }));
  }
}
