import { gzipSync } from 'node:zlib';

import { PurgeQueueCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect } from 'vitest';

import { rawKeyOf } from '../../../src/domain/batch-id.ts';
import type { IngestOutcome, ReplayOrigin, Submission } from '../../../src/pipeline/ports.ts';
import { ingest } from '../../../src/pipeline/ingest.ts';
import { replay } from '../../../src/pipeline/replay.ts';
import { AwsEngine, awsError, type AwsEngineOptions } from '../../support/aws/aws-engine.ts';
import {
  readCountersDirectly,
  createStore,
  scan,
  startAws,
  type AwsEmulators,
} from '../../support/aws/aws-store.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Java');

let aws: AwsEmulators;
beforeAll(async () => {
  aws = await startAws();
});
afterAll(() => aws.stop());

const minuteMs = 60_000;
const dayMs = 86_400_000;
const start = Date.UTC(2026, 5, 1, 12);
const rules = { bodyBytesMax: 1024 * 1024 };

const items = Array.from({ length: 4 }, (_, n) => ({
  type: `type ${n}`,
  state: 'ready',
  timestamp: '2026-01-01T12:00:00Z',
}));
const body = Buffer.from(JSON.stringify({ processed_devices: items }));
/** From an embedded store, and older than the age limit of a stack's own batches. */
const origin: ReplayOrigin = {
  batchId: '00000000-0040-8f3a-9c41-5d0e6f2b7a18',
  receivedAt: start - 150 * dayMs,
  accepted: 4,
  rejected: 0,
};
const rawKey = rawKeyOf(origin.batchId, origin.receivedAt);
const plain = { body, encoding: 'identity', strict: false, caller: '' } as const;
const submission: Submission = { ...plain, idempotencyKey: undefined, replayOf: origin };

async function newEngine(options: AwsEngineOptions = {}): Promise<AwsEngine> {
  return new AwsEngine(aws, await createStore(aws), start, { itemsPerMessage: 1, ...options });
}

async function bring(
  engine: AwsEngine,
  more: Partial<Submission> = {},
  replayOf: ReplayOrigin = origin,
): Promise<string> {
  const outcome = await replay({ ...submission, ...more }, replayOf, engine.replayIntake, rules);
  return codeOf(outcome);
}

function codeOf(outcome: IngestOutcome): string {
  if (!outcome.accepted) return outcome.problem.code;
  return outcome.isKnown === true ? 'known' : 'stored';
}

async function total({ store }: AwsEngine): Promise<number> {
  const rows = await readCountersDirectly(aws.dynamodb, store.countersTable);
  return rows.reduce((sum, { count }) => sum + count, 0);
}

async function orphans({ store }: AwsEngine): Promise<number> {
  const rows = await scan(aws.dynamodb, store.ledgerTable);
  return rows.filter(({ entry }) => entry?.S?.startsWith('orphan:')).length;
}

describe('a batch that is replayed into AWS', () => {
  it('is counted once although it is older than the limit here, and has its receipt', async () => {
    const engine = await newEngine();
    expect(await bring(engine)).toBe('stored');
    expect(await engine.process()).toBe(4);
    expect(await bring(engine)).toBe('known');
    expect(await engine.process()).toBe(0);
    expect(await total(engine)).toBe(4);
    expect(await engine.receipts.find(origin.batchId)).toMatchObject({
      ...{ status: 'counted', counted: 4, rawKey },
      receivedAt: origin.receivedAt,
    });
    expect(await engine.rawStore.get(rawKey)).toMatchObject({ replayedAt: start });
    expect(await engine.deadLetters.list()).toEqual([]);
    // The sweep has passed its time long ago: this row makes it check the batch.
    expect(await orphans(engine)).toBe(1);
    engine.now += 16 * minuteMs;
    expect(await engine.sweep()).toMatchObject({ orphans: 0, resent: 0 });
    expect(await orphans(engine)).toBe(0);
  });

  it('is the batch of a key that waits for its count, also one whose message carries its body', async () => {
    for (const carriesBodies of [false, true]) {
      const engine = await newEngine({ carriesBodies, itemsPerMessage: Number.POSITIVE_INFINITY });
      const sent = await ingest({ ...plain, idempotencyKey: 'one' }, engine.intake, rules);
      expect(codeOf(sent)).toBe('stored');
      // Longer than an attempt at a batch takes.
      engine.now += 6 * minuteMs;
      expect(await bring(engine, { idempotencyKey: 'one' })).toBe('known');
      while ((await engine.process()) > 0);
      expect(await total(engine)).toBe(4);
      expect(await engine.deadLetters.list()).toEqual([]);
    }
  });

  it('waits for the batch of its key if it comes in a form that is too large for a message', async () => {
    const limits = { carriesBodies: true, itemsPerMessage: Number.POSITIVE_INFINITY };
    const engine = await newEngine(limits);
    const idempotencyKey = 'one';
    const padded = Buffer.from(`${' '.repeat(40_000)}${body.toString()}`);
    const sent = { ...plain, idempotencyKey, body: gzipSync(padded), encoding: 'gzip' } as const;
    expect(codeOf(await ingest(sent, engine.intake, rules))).toBe('stored');
    engine.now += 6 * minuteMs;
    expect(await bring(engine, { idempotencyKey, body: padded })).toBe('storage_failed');
    while ((await engine.process()) > 0);
    expect(await total(engine)).toBe(4);
    expect(await bring(engine, { idempotencyKey, body: padded })).toBe('known');
  });

  it('is queued again if its messages are lost', async () => {
    const engine = await newEngine();
    await bring(engine);
    await aws.sqs.send(new PurgeQueueCommand({ QueueUrl: engine.store.queueUrl }));
    engine.now += 16 * minuteMs;
    expect(await engine.sweep()).toMatchObject({ orphans: 0, resent: 4 });
    await engine.process();
    expect(await total(engine)).toBe(4);
  });

  it('is not queued again if its dedup records may have expired', async () => {
    const engine = await newEngine();
    await bring(engine);
    await engine.process();
    engine.now += 91 * dayMs;
    // As if DynamoDB had expired the row.
    expect(await bring(engine)).toBe('known');
    expect(await engine.process()).toBe(0);
  });

  it('is the same batch with or without compression', async () => {
    const engine = await newEngine();
    expect(await bring(engine)).toBe('stored');
    expect(await bring(engine, { body: gzipSync(body), encoding: 'gzip' })).toBe('known');
    const other = gzipSync(Buffer.concat([body, Buffer.from(' ')]));
    expect(await bring(engine, { body: other, encoding: 'gzip' })).toBe('replay_conflict');
    expect(await engine.process()).toBe(4);
  });

  it('is refused if another body has its id', async () => {
    const engine = await newEngine();
    await bring(engine);
    expect(await bring(engine, { body: Buffer.concat([body, Buffer.from(' ')]) })).toBe(
      'replay_conflict',
    );
    expect(await engine.process()).toBe(4);
  });

  it('differs from a batch that was received here', async () => {
    const engine = await newEngine();
    const native = { ...plain, idempotencyKey: undefined };
    const outcome = await ingest(native, engine.intake, rules);
    if (!outcome.accepted) throw new Error(outcome.problem.detail);
    const { batchId } = outcome;
    await engine.process();
    engine.now += dayMs;
    expect(await bring(engine, {}, { ...origin, batchId, receivedAt: start })).toBe('known');
    expect(await engine.process()).toBe(0);
    expect(await total(engine)).toBe(4);
  });

  it('is the batch that its client sends again, to either installation', async () => {
    const engine = await newEngine();
    const keyed = { caller: 'fleet', idempotencyKey: 'one' };
    const recent = { ...origin, receivedAt: start - dayMs };
    expect(await bring(engine, keyed, recent)).toBe('stored');
    const retry = await ingest({ ...plain, ...keyed }, engine.intake, rules);
    expect(retry).toMatchObject({ rawKey: rawKeyOf(recent.batchId, recent.receivedAt) });
    const second = { ...plain, caller: 'fleet', idempotencyKey: 'two' };
    await ingest(second, engine.intake, rules);
    const other = { ...recent, batchId: origin.batchId.replace('9c41', '9c42') };
    expect(await bring(engine, { ...keyed, idempotencyKey: 'two' }, other)).toBe('known');
    await engine.process();
    expect(await total(engine)).toBe(8);
  });

  it.each([
    ['behind', Date.UTC(1970, 0, 1)],
    ['ahead', Date.UTC(2090, 0, 1)],
  ])('keeps its key although the clock of the source was far %s', async (_, receivedAt) => {
    const engine = await newEngine();
    const keyed = { caller: 'fleet', idempotencyKey: 'one' };
    const taken = { rawKey: rawKeyOf(origin.batchId, receivedAt) };
    expect(await bring(engine, keyed, { ...origin, receivedAt })).toBe('stored');
    engine.now += 89 * dayMs;
    expect(await ingest({ ...plain, ...keyed }, engine.intake, rules)).toMatchObject(taken);
    // And expires as any other.
    engine.now += dayMs;
    expect(await ingest({ ...plain, ...keyed }, engine.intake, rules)).not.toMatchObject(taken);
  });

  it.each(['before', 'after'] as const)(
    'is completed by the sweep, or by another replay, if interrupted %s any call',
    async (when) => {
      for (const finish of ['sweep', 'replay'] as const) {
        for (let cutAt = 0; ; cutAt++) {
          const engine = await newEngine();
          const calls: string[] = [];
          engine.fault = async (command, proceed) => {
            const isCut = calls.push(command) > cutAt;
            if (isCut && calls.length > cutAt + 1) throw awsError('AccessDenied', 403);
            const result = isCut && when === 'before' ? undefined : await proceed();
            if (isCut) throw awsError('AccessDenied', 403);
            return result;
          };
          const keyed = { caller: 'fleet', idempotencyKey: 'one' };
          const recent = { ...origin, receivedAt: start - 80 * dayMs };
          const outcome = await bring(engine, keyed, recent);
          engine.fault = undefined;
          const isStored = await engine.rawStore.has(rawKeyOf(recent.batchId, recent.receivedAt));
          engine.now += 16 * 60_000;
          if (finish === 'sweep') await engine.sweep();
          else expect(await bring(engine, keyed, recent)).toBe(isStored ? 'known' : 'stored');
          await engine.process();
          expect(await total(engine)).toBe(isStored || finish === 'replay' ? 4 : 0);
          await bring(engine, keyed, recent);
          await engine.process();
          expect(await total(engine)).toBe(4);
          if (outcome === 'stored') {
            expect(calls).toEqual([
              ...['ListObjectsV2', 'GetItem', 'PutItem', 'PutItem', 'PutObject'],
              ...['SendMessageBatch', 'PutItem'],
            ]);
            break;
          }
        }
      }
    },
  );
});
