import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  type Message,
  type SQSClient,
} from '@aws-sdk/client-sqs';

import type { DayOf } from '../../../domain/day.ts';
import {
  readDeadLetterContent,
  type DeadLetterContent,
} from '../../../pipeline/chunks/dead-letter-content.ts';
import { readMessage } from '../../../pipeline/chunks/queue-message.ts';
import { pagesOf } from '../../../util/pages-of.ts';
import type { ChunkId } from '../ledger/ledger-rows.ts';
import { messagesIn } from '../queue/queue-depth.ts';
import { deadLetterAttributes } from './dead-letter-queue.ts';

/** A dead letter in its queue. */
export interface StoredDeadLetter {
  /** The id of the first message; a redrive keeps it. */
  readonly id: string;
  readonly content: DeadLetterContent;
  readonly body: string;
  readonly reason: string;
  /** Whether SQS itself moved the message, which records no reason. */
  readonly isMovedBySqs: boolean;
  /** Milliseconds since 1970; undefined if SQS itself moved the message, which records no time. */
  readonly firstFailedAt: number | undefined;
  readonly lastFailedAt: number | undefined;
  /** When the first message was sent; milliseconds since 1970. */
  readonly sentAt: number;
  /** The text attributes of the message. */
  readonly attributes: Readonly<Record<string, string>>;
}

export interface PassOptions {
  readonly client: Pick<SQSClient, 'send'>;
  /** The URL of the dead-letter queue. */
  readonly queueUrl: string;
  readonly now: () => number;
  /** The most dead letters to visit. SQS allows 120,000 messages in flight in a queue. */
  readonly limit: number;
  /** The wait time of a receive request; from 1 second on, SQS asks all of its servers. */
  readonly waitSeconds: number;
}

const pageSize = 10;
/** A pass hides messages for at least this long, and makes them visible when it ends. */
const hiddenSecondsMin = 60;
const deadLettersPerSecondMin = 50;
const closingSeconds = 20;

interface Received extends StoredDeadLetter {
  readonly messageId: string;
}

/**
 * Visits the dead letters once each, in pages, in no order. `visit` returns those to delete; all
 * others are visible again afterwards. Returns the number visited, and whether there may be more:
 * the pass ends at the limit, or before the first messages it has received become visible.
 */
export async function forEachDeadLetter(
  options: PassOptions,
  visit: (deadLetters: readonly StoredDeadLetter[]) => Promise<ReadonlySet<StoredDeadLetter>>,
): Promise<{ readonly visited: number; readonly isMore: boolean }> {
  const { now, limit } = options;
  const hiddenSeconds = hiddenSecondsMin + Math.ceil(limit / deadLettersPerSecondMin);
  const endsAt = now() + (hiddenSeconds - closingSeconds) * 1_000;
  const seen = new Set<string>();
  /** The latest receipt handle of each message that stays. */
  const kept = new Map<string, string>();
  const work = async () => {
    while (seen.size < limit && now() < endsAt) {
      const messages = await receive(options, Math.min(pageSize, limit - seen.size), hiddenSeconds);
      if (messages.length === 0) return false;
      const fresh: Received[] = [];
      for (const message of messages) {
        const deadLetter = deadLetterOf(message);
        if (!seen.has(deadLetter.messageId)) fresh.push(deadLetter);
        seen.add(deadLetter.messageId);
        kept.set(deadLetter.messageId, message.ReceiptHandle ?? '');
      }
      if (fresh.length === 0) continue;
      const done = await visit(fresh);
      const gone = fresh
        .filter((deadLetter) => done.has(deadLetter))
        .map(({ messageId }) => messageId);
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
    // A second attempt can then receive the messages at once. The first error matters more than an
    // error here.
    await Promise.allSettled([makeVisible(options, [...kept.values()])]);
    throw error;
  }
  await makeVisible(options, [...kept.values()]);
  return { visited: seen.size, isMore };
}

/** The most dead letters that an audit reads. */
const deadLettersMax = 10_000;

/** The chunks among the dead letters. The dead letters stay in their queue. */
export async function deadChunks(
  client: Pick<SQSClient, 'send'>,
  queueUrl: string,
  dayOf: DayOf,
  now: () => number,
): Promise<readonly ChunkId[]> {
  // Receiving from an empty queue would wait.
  if ((await messagesIn(client, queueUrl)) === 0) return [];
  const chunks: ChunkId[] = [];
  const options = { client, queueUrl, now, limit: deadLettersMax, waitSeconds: 1 };
  await forEachDeadLetter(options, (deadLetters) => {
    for (const { body } of deadLetters) {
      const reading = readMessage(body, dayOf);
      if (reading.kind === 'chunk') chunks.push({ batchId: reading.batchId, index: reading.index });
    }
    return Promise.resolve(new Set());
  });
  return chunks;
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

function deadLetterOf(message: Message): Received {
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
    ...{ messageId, body, lastFailedAt, attributes },
    id: attributes[deadLetterAttributes.originalId] ?? messageId,
    content: readDeadLetterContent(body),
    reason: attributes[deadLetterAttributes.reason] ?? reasonOfSqs(receives),
    isMovedBySqs: attributes[deadLetterAttributes.reason] === undefined,
    firstFailedAt: timeOf(deadLetterAttributes.firstFailedAt) ?? lastFailedAt,
    sentAt: timeOf(deadLetterAttributes.sentAt) ?? Number(Attributes.SentTimestamp),
  };
}

/** SQS's own redrive policy records no reason. */
function reasonOfSqs(receives: number): string {
  return `not_counted: SQS moved the message after too many receives without success (${receives} by now)`;
}

/** SQS delivers a message that is not deleted again, which is harmless. */
async function remove(options: PassOptions, handles: readonly string[]): Promise<void> {
  const { client, queueUrl: QueueUrl } = options;
  for (const Entries of entriesOf(handles)) {
    await client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
  }
}

async function makeVisible(options: PassOptions, handles: readonly string[]): Promise<void> {
  const { client, queueUrl: QueueUrl } = options;
  for (const page of entriesOf(handles)) {
    const Entries = page.map((entry) => ({ ...entry, VisibilityTimeout: 0 }));
    await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries }));
  }
}

function entriesOf(handles: readonly string[]) {
  const pages = pagesOf(handles, pageSize);
  return pages.map((page) => page.map((ReceiptHandle, at) => ({ Id: String(at), ReceiptHandle })));
}
