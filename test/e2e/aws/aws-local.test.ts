import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { S3Client } from '@aws-sdk/client-s3';
import { beforeAll, expect } from 'vitest';

import { clientSettings } from '../../../infra/local/client-settings.ts';
import type { LocalStack, LocalStackOptions } from '../../../infra/local/local-stack.ts';
import {
  synthesizedTemplate,
  type Synthesized,
} from '../../../infra/local/template/synthesized-template.ts';
import {
  compareCounters,
  mergeIncrements,
  rowsOfIncrements,
  type CounterRow,
  type Increments,
} from '../../../src/domain/counter.ts';
import { dateOfTimestamp } from '../../../src/domain/timestamp.ts';
import { s3RawBatches } from '../../../src/engines/aws/intake/raw-batches.ts';
import { recount } from '../../../src/pipeline/recount.ts';
import { readCountersDirectly } from '../../support/aws/aws-store.ts';
import { promptTemplate, startTestStack } from '../../support/aws/test-stack.ts';
import { run } from '../../support/processes/command-line.ts';
import { exchange, postBatch } from '../../support/server.ts';
import { needs } from '../../support/run/needs.ts';
import { isNightly, rounds } from '../../support/run/tier.ts';

const { describe, it } = needs('Java');

const countedWithinMs = 180_000;

let synthesized: Synthesized;
beforeAll(async () => {
  synthesized = await (isNightly() ? synthesizedTemplate() : promptTemplate());
});

interface Status {
  readonly pending_messages: number;
  readonly dead_letters: number;
}

/** The stack of the CDK app, on the emulators, with the bundled functions. */
async function withStack(
  options: Partial<LocalStackOptions>,
  use: (stack: LocalStack) => Promise<void>,
): Promise<void> {
  const stack = await startTestStack({ ...synthesized, isThrottled: false, ...options });
  try {
    await use(stack);
  } finally {
    await stack.stop();
  }
}

async function status({ url }: LocalStack): Promise<Status> {
  return JSON.parse((await exchange(url, { path: '/readyz' })).text) as Status;
}

/** Resolves when no message waits or is being counted. */
async function drained(stack: LocalStack): Promise<Status> {
  const deadline = Date.now() + countedWithinMs;
  for (;;) {
    const now = await status(stack);
    if (now.pending_messages === 0) return now;
    if (Date.now() > deadline) throw new Error(`still pending: ${JSON.stringify(now)}`);
    await delay(100);
  }
}

function settings({ endpoint, description }: LocalStack) {
  return clientSettings(endpoint, description.region, 'test');
}

function counters(stack: LocalStack): Promise<CounterRow[]> {
  const client = new DynamoDBClient(settings(stack));
  return readCountersDirectly(client, stack.description.outputs['TableName'] ?? '');
}

/** What the raw bodies say that the counters are. */
async function recountRawStore(
  stack: LocalStack,
): Promise<{ batches: number; rows: CounterRow[] }> {
  const client = new S3Client({ ...settings(stack), forcePathStyle: true });
  const sum: Increments = new Map();
  let batches = 0;
  const raw = s3RawBatches(client, stack.description.outputs['BucketName'] ?? '');
  const range = { from: 0, to: Number.MAX_SAFE_INTEGER };
  for (const entry of (await Array.fromAsync(raw.list(range))).flat()) {
    if (entry.damage !== undefined) throw new Error(entry.damage);
    const { body, details } = (await entry.load()) ?? expect.fail(entry.rawKey);
    const { increments, reason } = {
      reason: undefined,
      increments: undefined,
      ...recount({ ...details, body }, dateOfTimestamp),
    };
    if (increments === undefined) throw new Error(reason);
    mergeIncrements(sum, increments);
    batches++;
  }
  return { batches, rows: [...rowsOfIncrements(sum)].sort(compareCounters) };
}

const batchesSent = rounds({
  what: 'batches of 100 through the stack on this machine',
  ...{ quick: 12, nightly: 1_000 },
});

const singlesSent = rounds({
  what: 'single events through the stack on this machine, their bodies in the queue',
  ...{ quick: 30, nightly: 100_000 },
});

describe('the stack of the CDK app on this machine', () => {
  it('takes the sample, and gives its rows to the commands', () =>
    withStack({}, async (stack) => {
      const sample = readFileSync(new URL('../../../docs/sample.json', import.meta.url));
      expect(await postBatch(stack.url, sample)).toMatchObject({ status: 200 });
      await drained(stack);
      const stats = await run(['stats', '--url', stack.url, '--date', '2023-06-16', '--json']);
      expect(stats).toMatchObject({ code: 0, stderr: '' });
      expect(JSON.parse(stats.stdout)).toEqual([
        { date: '2023-06-16', type: 'laptop', state: 'erased', count: 1 },
        { date: '2023-06-16', type: 'phone', state: 'erased', count: 1 },
        { date: '2023-06-16', type: 'phone', state: 'erasure failed', count: 1 },
        { date: '2023-06-16', type: 'server', state: 'erased', count: 1 },
      ]);
    }));

  it.each([
    { smallBodies: 'object', sent: batchesSent, items: 100 },
    { smallBodies: 'queue', sent: singlesSent, items: 1 },
  ])(
    'counts $sent batches of $items exactly, with messages repeated and the processor killed ($smallBodies)',
    ({ smallBodies, sent: batchesMade, items }) =>
      withStack(
        {
          variables: { SMALL_BODIES: smallBodies },
          disorder: { seed: 7, duplicate: 0.2, reorder: 0.5, kill: 0.1, laterMsMax: 1_000 },
          // Messages that wait on a busy machine must not be delivered repeatedly meanwhile.
          visibilityTimeoutSeconds: 20,
        },
        async (stack) => {
          const feed = [
            'feed',
            stack.url,
            '--batches',
            String(batchesMade),
            '--items',
            String(items),
            '--concurrency',
            '8',
            '--days',
            '1',
          ];
          const sent = await run([...feed, '--seed', 'exact', '--json']);
          expect(sent, sent.stderr).toMatchObject({ code: 0 });
          expect((await drained(stack)).dead_letters).toBe(0);
          const { batches, rows } = await recountRawStore(stack);
          expect(batches).toBe(batchesMade);
          expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(batchesMade * items);
          expect(await counters(stack)).toEqual(rows);
        },
      ),
    isNightly() ? 7_200_000 : 300_000,
  );

  it('completes a batch whose messages were sent in part, once', async () => {
    let sends = 0;
    let isCut = true;
    await withStack(
      {
        variables: { ITEMS_PER_MESSAGE: '1', SWEEP_AFTER_SECONDS: '0' },
        sweepEveryMs: 3_600_000,
        // The first ten messages go through, and the function cannot send the others.
        fault: ({ caller, operation }) =>
          isCut && caller === 'ingest' && operation === 'SendMessageBatch' && sends++ > 0
            ? { kind: 'refuse', code: 'AccessDenied', status: 403 }
            : undefined,
      },
      async (stack) => {
        const items = Array.from({ length: 35 }, (_, serial) => ({
          type: `type ${serial % 7}`,
          state: 'ready',
          timestamp: '2023-06-16T13:00:00Z',
        }));
        const refused = await postBatch(stack.url, items);
        expect(refused, refused.text).toMatchObject({ status: 503 });
        isCut = false;
        await drained(stack);
        const counted = async () =>
          (await counters(stack)).reduce((sum, { count }) => sum + count, 0);
        expect(await counted()).toBe(10);

        const sweeps = await stack.runSchedules();
        expect(sweeps).toMatchObject([{ kind: 'succeeded' }]);
        await drained(stack);
        expect(await counters(stack)).toEqual((await recountRawStore(stack)).rows);
        expect(await counted()).toBe(35);

        await stack.runSchedules();
        await drained(stack);
        expect(await counted()).toBe(35);
      },
    );
  });
});
