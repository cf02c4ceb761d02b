import type { SQSClient } from '@aws-sdk/client-sqs';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { readRawKey } from '../../../domain/batch-id.ts';
import type { PipelineStatus } from '../../../pipeline/ports.ts';
import { countedThrough } from './sweep-progress.ts';
import { messagesIn } from '../queue/queue-depth.ts';
import { startOf, type S3RawStore } from '../intake/raw-store.ts';

interface AwsStatusOptions {
  readonly sqs: Pick<SQSClient, 'send'>;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl: string;
  readonly dynamodb: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  readonly rawStore: Pick<S3RawStore, 'keys'>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** The status looks for the latest batch in these windows, in turn. */
const lookBackSeconds = [5, 60, 3_600, 86_400, 30 * 86_400];
/** The pages of 1,000 keys that it reads of each window. */
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
      countedThrough: through,
      lastReceivedAt: received,
    };
  };
}

/** Finds it by the raw keys, which are in the order of time. */
async function lastReceivedAt({ rawStore, now }: AwsStatusOptions): Promise<number | undefined> {
  for (const seconds of lookBackSeconds) {
    let [last, pages] = ['', 0];
    for await (const page of rawStore.keys({ after: startOf(now() - seconds * 1_000) })) {
      last = page.at(-1) ?? last;
      if (++pages === pagesMax) break;
    }
    const identity = readRawKey(last);
    if (identity !== undefined) return identity.receivedAt;
  }
  return undefined;
}
