import { ChangeMessageVisibilityBatchCommand, type SQSClient } from '@aws-sdk/client-sqs';

import { inParallel } from '../../../util/in-parallel.ts';

/** A message that was received and is to be delivered again. */
export interface ReceivedMessage {
  readonly receiptHandle: string;
  /** How often it was received, this time included. */
  readonly receives: number;
}

const entriesMax = 10;
const parallelRequests = 24;
const firstDelaySeconds = 15;
/** From here on a message stays hidden for the queue's own time, which is not much longer. */
const delaySecondsMax = 480;

/**
 * Has messages delivered again soon, and later each time, rather than after the visibility timeout
 * of the queue, which allows for the longest invocation. Where that fails, they come after that.
 */
export async function deliverSooner(
  client: Pick<SQSClient, 'send'>,
  QueueUrl: string,
  messages: readonly ReceivedMessage[],
): Promise<void> {
  const entries = messages.flatMap(({ receiptHandle: ReceiptHandle, receives }) => {
    const VisibilityTimeout = firstDelaySeconds * 2 ** (receives - 1);
    return VisibilityTimeout <= delaySecondsMax ? [{ ReceiptHandle, VisibilityTimeout }] : [];
  });
  const pages = Array.from({ length: Math.ceil(entries.length / entriesMax) }, (_, page) =>
    entries.slice(page * entriesMax, (page + 1) * entriesMax),
  );
  await inParallel(parallelRequests, pages, async (page) => {
    const Entries = page.map((entry, at) => ({ Id: String(at), ...entry }));
    const command = new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries });
    await client.send(command).catch(() => undefined);
  });
}
