import type { S3Client } from '@aws-sdk/client-s3';
import { describe, expect, it } from 'vitest';

import { s3BodyGroups } from '../../../src/engines/aws/intake/body-groups.ts';
import { s3RawStore } from '../../../src/engines/aws/intake/raw-store.ts';
import { awsStatus } from '../../../src/engines/aws/ledger/status.ts';

const now = Date.UTC(2026, 10, 29, 20);
const dayMs = 86_400_000;

interface ListRequest {
  readonly input: { Prefix: string; StartAfter?: string; ContinuationToken?: string };
}

/** A bucket with these keys, which only supports listings. */
function bucketOf(keys: readonly string[]) {
  const requests: ListRequest[] = [];
  const send = (request: ListRequest) => {
    requests.push(request);
    const { Prefix, StartAfter = '', ContinuationToken: after = StartAfter } = request.input;
    const left = keys.filter((key) => key.startsWith(Prefix) && key > after);
    const page = left.slice(0, 1_000);
    const isCut = left.length > page.length;
    return Promise.resolve({
      Contents: page.map((Key) => ({ Key, Size: 1 })),
      ...(isCut && { NextContinuationToken: page.at(-1) }),
    });
  };
  return { requests, s3: { send } as unknown as Pick<S3Client, 'send'> };
}

function groupKey(first: number): string {
  const [from, to] = [first, first + 2_000].map((at) => new Date(at).toISOString());
  return `grouped/${from?.slice(0, 10)}/${from}-${to}-${'0'.repeat(32)}.jsonl.gz`;
}

async function lastReceivedAt({ s3 }: ReturnType<typeof bucketOf>): Promise<number | undefined> {
  const attributes = ['', 'NotVisible', 'Delayed'].map(
    (kind) => [`ApproximateNumberOfMessages${kind}`, '0'] as const,
  );
  const status = awsStatus({
    sqs: { send: () => Promise.resolve({ Attributes: Object.fromEntries(attributes) }) } as never,
    dynamodb: { send: () => Promise.resolve({}) } as never,
    ...{ queueUrl: 'queue', deadLetterQueueUrl: 'dead', ledgerTable: 'ledger' },
    ...{ rawStore: s3RawStore(s3, 'bucket'), groups: s3BodyGroups(s3, 'bucket') },
    ...{ carriesBodies: true, now: () => now },
  });
  return (await status()).lastReceivedAt;
}

describe('the time of the latest batch', () => {
  it('is found among 30,000 groups of the day with a few requests', async () => {
    const stepMs = 2_400;
    const count = Math.floor((20 * 3_600_000) / stepMs);
    const bucket = bucketOf(
      Array.from({ length: count }, (_, n) => groupKey(now - (n + 1) * stepMs)).reverse(),
    );
    expect(await lastReceivedAt(bucket)).toBe(now - stepMs + 2_000);
    expect(bucket.requests).toHaveLength(2);
  });

  it('may be that of a group that began days ago', async () => {
    const bucket = bucketOf([groupKey(now - 9 * dayMs)]);
    expect(await lastReceivedAt(bucket)).toBe(now - 9 * dayMs + 2_000);
    expect(await lastReceivedAt(bucketOf([]))).toBeUndefined();
  });
});
