import type { SQSClient } from '@aws-sdk/client-sqs';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';

import { readRawKey } from '../../../domain/batch-id.ts';
import type { PipelineStatus } from '../../../pipeline/ports.ts';
import { countedThrough } from './sweep-progress.ts';
import { messagesIn } from '../queue/queue-depth.ts';
import { startOf, type S3RawStore } from '../intake/raw-store.ts';

export interface AwsStatusOptions {
  readonly sqs: Pick<SQSClient, 'send'>;
  readonly queueUrl: string;
  readonly deadLetterQueueUrl: string;
  readonly dynamodb: Pick<DynamoDBClient, 'send'>;
  readonly ledgerTable: string;
  readonly rawStore: Pick<S3RawStore, 'keys'>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** The latest batch is looked for among those of the last so many seconds, then of more, */
const lookBackSeconds = [5, 60, 3_600, 86_400, 30 * 86_400];
/** so many pages of 1,000 each time, */
const pagesMax = 10;
/** and what was found is told on for so long. */
const lookAgainMs = 10_000;

/**
 * How many messages wait or are being counted, and how many are dead, as SQS knows it, roughly; and
 * what the sweeper has proven.
 */
export function awsStatus(options: AwsStatusOptions): () => Promise<PipelineStatus> {
  const { sqs, queueUrl, deadLetterQueueUrl, dynamodb, ledgerTable, now } = options;
  let looked: { readonly at: number; readonly lastReceivedAt: number | undefined } | undefined;
  const latest = async () => {
    if (looked === undefined || now() - looked.at > lookAgainMs) {
      looked = { at: now(), lastReceivedAt: await lastReceivedAt(options) };
    }
    return looked.lastReceivedAt;
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

/** By the keys of the raw bodies, which are in the order of time. */
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
