import type { SQSClient } from '@aws-sdk/client-sqs';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { readRawKey } from '../../../domain/batch-id.ts';
import type { PipelineStatus } from '../../../pipeline/ports.ts';
import { countedThrough } from './sweep-progress.ts';
import { messagesIn } from '../queue/queue-depth.ts';
import type { BodyGroups } from '../intake/body-groups.ts';
import { startOf, type S3RawStore } from '../intake/raw-store.ts';

interface AwsStatusOptions {
  readonly sqs: Pick<SQSClient, 'send'>;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl: string;
  readonly dynamodb: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  readonly rawStore: Pick<S3RawStore, 'keys'>;
  readonly groups: Pick<BodyGroups, 'begunSince'>;
  /** Whether messages carry bodies: the bucket then does not have the bodies of waiting batches. */
  readonly carriesBodies: boolean;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** The time windows in which the status looks for the latest batch, in this order. */
const lookBackSeconds = [5, 60, 3_600, 86_400, 30 * 86_400];
/** How many pages of 1,000 keys it reads of each window. */
const pagesMax = 10;
/** How long it reports the batch it found before it looks again. */
const latestForMs = 10_000;

/** The approximate numbers of pending messages and dead letters in SQS, and the progress of sweeps. */
export function awsStatus(options: AwsStatusOptions): () => Promise<PipelineStatus> {
  const { sqs, queueUrl, deadLetterQueueUrl, dynamodb, ledgerTable, now } = options;
  let found: { readonly at: number; readonly lastReceivedAt: number | undefined } | undefined;
  const latest = async () => {
    if (found === undefined || now() - found.at > latestForMs) {
      found = { at: now(), lastReceivedAt: await lastReceivedAt(options) };
    }
    return found.lastReceivedAt;
  };
  return async () => {
    const [amount, deadLetters, through, received] = await Promise.all([
      messagesIn(sqs, queueUrl),
      messagesIn(sqs, deadLetterQueueUrl),
      countedThrough(dynamodb, ledgerTable),
      latest(),
    ]);
    return {
      unavailable: undefined,
      pending: { unit: 'messages', amount },
      deadLetters,
      // Only the queue shows how long messages that carry bodies have waited.
      countedThrough: options.carriesBodies && amount > 0 ? undefined : through,
      lastReceivedAt: received,
    };
  };
}

/** Finds the latest batch by the keys of bodies and groups, which are in the order of time. */
async function lastReceivedAt({
  rawStore,
  groups,
  now,
}: AwsStatusOptions): Promise<number | undefined> {
  for (const seconds of lookBackSeconds) {
    const from = now() - seconds * 1_000;
    const [key = '', group] = await Promise.all([
      lastOf(rawStore.keys({ after: startOf(from) })),
      lastOf(groups.begunSince(from)),
    ]);
    const latest = Math.max(readRawKey(key)?.receivedAt ?? 0, group?.last ?? 0);
    if (latest > 0) return latest;
  }
  return undefined;
}

/** The last of the first pages of a listing. */
async function lastOf<T>(pages: AsyncIterable<readonly T[]>): Promise<T | undefined> {
  let [last, count]: [T | undefined, number] = [undefined, 0];
  for await (const page of pages) {
    last = page.at(-1) ?? last;
    if (++count === pagesMax) break;
  }
  return last;
}
