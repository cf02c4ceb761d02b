import {
  SendMessageBatchCommand,
  type MessageAttributeValue,
  type SendMessageBatchRequestEntry,
  type SQSClient,
} from '@aws-sdk/client-sqs';

import { isRetryable } from '../errors.ts';
import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import { inParallel } from '../../../util/in-parallel.ts';

interface OutgoingMessage {
  readonly body: string;
  readonly attributes?: Readonly<Record<string, string>>;
}

export interface SqsOptions {
  readonly client: Pick<SQSClient, 'send'>;
  readonly queueUrl: string;
  readonly backoff: Backoff;
}

/** SQS's limits of one batch: messages, */
const entriesMax = 10;
/** and their bytes together (some regions allow more). */
const batchBytesMax = 256 * 1024;
const parallelBatches = 24;

/**
 * Sends the messages, and sends again those that SQS reports as failed. Returns the indexes of the
 * messages that were certainly sent; if a response was lost, others may have been sent, too.
 */
export async function sendAll(
  options: SqsOptions,
  messages: readonly OutgoingMessage[],
): Promise<{ readonly sent: ReadonlySet<number>; readonly error: unknown }> {
  const sent = new Set<number>();
  let error: unknown;
  await inParallel(parallelBatches, batchesOf(messages), async (indexes) => {
    let open = indexes;
    for (let attempts = 0; open.length > 0;) {
      const attempt = await sendOnce(options, messages, open);
      for (const index of attempt.sent) sent.add(index);
      open = open.filter((index) => !sent.has(index));
      if (open.length === 0) return;
      attempts++;
      if (attempt.isLasting || !(await waitForRetry(options.backoff, attempts))) {
        error = attempt.error;
        return;
      }
    }
  });
  return { sent, error };
}

async function sendOnce(
  { client, queueUrl }: SqsOptions,
  messages: readonly OutgoingMessage[],
  indexes: readonly number[],
): Promise<{ sent: readonly number[]; error?: unknown; isLasting?: boolean }> {
  const Entries = indexes.map((index) => entryOf(index, messages[index]));
  try {
    const { Successful = [], Failed = [] } = await client.send(
      new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries }),
    );
    const [failed] = Failed;
    return {
      sent: Successful.map(({ Id }) => Number(Id)),
      error: new Error(`SQS refused a message: ${failed?.Code ?? ''} ${failed?.Message ?? ''}`),
      isLasting: Failed.length > 0 && Failed.every(({ SenderFault }) => SenderFault === true),
    };
  } catch (error) {
    return { sent: [], error, isLasting: !isRetryable(error) };
  }
}

function entryOf(
  index: number,
  message: OutgoingMessage | undefined,
): SendMessageBatchRequestEntry {
  const attributes = Object.entries(message?.attributes ?? {}).map(
    ([name, value]): [string, MessageAttributeValue] => [
      name,
      { DataType: 'String', StringValue: value },
    ],
  );
  return {
    Id: String(index),
    MessageBody: message?.body ?? '',
    ...(attributes.length > 0 && { MessageAttributes: Object.fromEntries(attributes) }),
  };
}

/** The indexes of the messages, in order, in groups that fit into a request. */
function batchesOf(messages: readonly OutgoingMessage[]): number[][] {
  const batches: number[][] = [];
  let bytes = 0;
  for (const [index, message] of messages.entries()) {
    const size = sizeOf(message);
    const open = batches.at(-1);
    if (open !== undefined && open.length < entriesMax && bytes + size <= batchBytesMax) {
      open.push(index);
      bytes += size;
    } else {
      batches.push([index]);
      bytes = size;
    }
  }
  return batches;
}

/** SQS counts the names, values and types of attributes. */
function sizeOf({ body, attributes = {} }: OutgoingMessage): number {
  let size = Buffer.byteLength(body);
  for (const [name, value] of Object.entries(attributes)) {
    size += Buffer.byteLength(name) + Buffer.byteLength(value) + 'String'.length;
  }
  return size;
}
