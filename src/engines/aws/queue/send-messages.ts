import {
  SendMessageBatchCommand,
  type MessageAttributeValue,
  type SendMessageBatchRequestEntry,
  type SQSClient,
} from '@aws-sdk/client-sqs';

import { isRetryable } from '../errors.ts';
import { waitForRetry, type Backoff } from '../../../util/backoff.ts';
import { inParallel } from '../../../util/in-parallel.ts';

export interface OutgoingMessage {
  readonly body: string;
  readonly attributes?: Readonly<Record<string, string>>;
}

export interface SqsOptions {
  readonly client: Pick<SQSClient, 'send'>;
  readonly queueUrl: string;
  readonly backoff: Backoff;
}

/** SQS takes so many messages at a time, */
const entriesMax = 10;
/** and so many bytes of them together (some regions take more). */
const batchBytesMax = 256 * 1024;
const parallelBatches = 24;

/**
 * Sends the messages, and those that SQS names as failed again. Returns which were sent, by their
 * place; the others may have been sent too, where a reply was lost.
 */
export async function sendAll(
  options: SqsOptions,
  messages: readonly OutgoingMessage[],
): Promise<{ readonly sent: ReadonlySet<number>; readonly error: unknown }> {
  const sent = new Set<number>();
  let error: unknown;
  await inParallel(parallelBatches, batchesOf(messages), async (places) => {
    let open = places;
    for (let attempts = 0; open.length > 0;) {
      const attempt = await sendOnce(options, messages, open);
      for (const place of attempt.sent) sent.add(place);
      open = open.filter((place) => !sent.has(place));
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
  places: readonly number[],
): Promise<{ sent: readonly number[]; error?: unknown; isLasting?: boolean }> {
  const Entries = places.map((place) => entryOf(place, messages[place]));
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
  place: number,
  message: OutgoingMessage | undefined,
): SendMessageBatchRequestEntry {
  const attributes = Object.entries(message?.attributes ?? {}).map(
    ([name, value]): [string, MessageAttributeValue] => [
      name,
      { DataType: 'String', StringValue: value },
    ],
  );
  return {
    Id: String(place),
    MessageBody: message?.body ?? '',
    ...(attributes.length > 0 && { MessageAttributes: Object.fromEntries(attributes) }),
  };
}

/** The places of the messages, in order, as many together as one request takes. */
function batchesOf(messages: readonly OutgoingMessage[]): number[][] {
  const batches: number[][] = [];
  let bytes = 0;
  for (const [place, message] of messages.entries()) {
    const size = sizeOf(message);
    const open = batches.at(-1);
    if (open !== undefined && open.length < entriesMax && bytes + size <= batchBytesMax) {
      open.push(place);
      bytes += size;
    } else {
      batches.push([place]);
      bytes = size;
    }
  }
  return batches;
}

/** Attributes count by their names, values and types. */
function sizeOf({ body, attributes = {} }: OutgoingMessage): number {
  let size = Buffer.byteLength(body);
  for (const [name, value] of Object.entries(attributes)) {
    size += Buffer.byteLength(name) + Buffer.byteLength(value) + 'String'.length;
  }
  return size;
}
