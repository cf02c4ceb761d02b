import { ChangeMessageVisibilityBatchCommand, type SQSClient } from '@aws-sdk/client-sqs';

import { inParallel } from '../../../util/in-parallel.ts';
import { pagesOf } from '../../../util/pages-of.ts';

/** A received message that SQS is to deliver again. */
interface ReceivedMessage {
  readonly receiptHandle: string;
  /** How often it was received, including this time. */
  readonly receives: number;
}

const entriesMax = 10;
const parallelRequests = 24;
const firstDelaySeconds = 15;
/** Above this delay the queue's own visibility timeout applies, which is only slightly longer. */
const delaySecondsMax = 480;

/**
 * Makes SQS deliver messages again soon, with a delay that doubles each time, rather than after the
 * queue's visibility timeout, which allows for the longest invocation. If the request fails, the
 * timeout applies.
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
  await inParallel(parallelRequests, pagesOf(entries, entriesMax), async (page) => {
    const Entries = page.map((entry, at) => ({ Id: String(at), ...entry }));
    const command = new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries });
    await client.send(command).catch(() => undefined);
  });
}
