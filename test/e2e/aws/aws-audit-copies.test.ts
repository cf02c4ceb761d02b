import { hash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';

import { DeleteItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, expect } from 'vitest';

import { batchIdMaker, rawKeyOf } from '../../../src/domain/batch-id.ts';
import { s3BodyGroups } from '../../../src/engines/aws/intake/body-groups.ts';
import { s3RawStore } from '../../../src/engines/aws/intake/raw-store.ts';
import { idempotencyKey, keyIdOf, keyItem } from '../../../src/engines/aws/ledger/ledger-table.ts';
import type { CarriedBatch } from '../../../src/pipeline/chunks/carried-batch.ts';
import { ingest } from '../../../src/pipeline/ingest.ts';
import type { IngestOutcome } from '../../../src/pipeline/ports.ts';
import { AwsEngine } from '../../support/aws/aws-engine.ts';
import { auditOf } from '../../support/aws/aws-verify.ts';
import {
  createStore,
  startAws,
  type AwsEmulators,
  type AwsStore,
} from '../../support/aws/aws-store.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Java');

let aws: AwsEmulators;
beforeAll(async () => {
  aws = await startAws();
});
afterAll(() => aws.stop());

const now = Date.now();
const dayMs = 86_400_000;
const makeBatchId = batchIdMaker(randomBytes);
const bodyOf = (state: string) =>
  Buffer.from(
    JSON.stringify({
      processed_devices: [{ type: 'lamp', state, timestamp: '2026-03-01T10:00:00Z' }],
    }),
  );

describe('bodies that are stored under one batch id', () => {
  const carried = (state: string, encoding: 'identity' | 'gzip' = 'identity'): CarriedBatch => ({
    ...{ batchId: id, receivedAt: now, accepted: 1, rejected: 0, encoding, sha256: '' },
    body: encoding === 'gzip' ? gzipSync(bodyOf(state)) : bodyOf(state),
  });
  const id = makeBatchId(now, 1);
  const rawKey = rawKeyOf(id, now);
  /** Nothing here is counted, which has findings of its own. */
  const problems = async (store: AwsStore) =>
    (await auditOf(aws, store)).differences.filter(({ code }) => code === 'raw_differs');

  it('are no problem if they are the same, also in another encoding', async () => {
    const store = await createStore(aws);
    const groups = s3BodyGroups(aws.s3, store.bucket);
    await groups.put([carried('on')]);
    await groups.put([carried('on'), carried('on', 'gzip')]);
    await s3RawStore(aws.s3, store.bucket).put({
      ...carried('on', 'gzip'),
      itemsPerMessage: Number.POSITIVE_INFINITY,
      sha256: undefined,
    });
    expect(await problems(store)).toEqual([]);
  });

  it('are named if they differ, in two groups or in one', async () => {
    for (const puts of [[[carried('on')], [carried('off')]], [[carried('on'), carried('off')]]]) {
      const store = await createStore(aws);
      for (const batches of puts) await s3BodyGroups(aws.s3, store.bucket).put(batches);
      expect(await problems(store)).toMatchObject([{ rawKeys: [rawKey] }]);
    }
  });

  it('are named if they differ, in a group and in an object', async () => {
    const store = await createStore(aws);
    await s3BodyGroups(aws.s3, store.bucket).put([carried('on')]);
    await s3RawStore(aws.s3, store.bucket).put({
      ...carried('off'),
      itemsPerMessage: Number.POSITIVE_INFINITY,
    });
    const detail = expect.stringMatching(/ in grouped\/.* and raw\//) as string;
    expect(await problems(store)).toMatchObject([{ detail, rawKeys: [rawKey] }]);
  });

  it('are named if they differ, in objects of different times', async () => {
    const store = await createStore(aws);
    for (const [at, state] of [
      [now, 'on'],
      [now + 1, 'off'],
    ] as const) {
      await s3RawStore(aws.s3, store.bucket).put({
        ...{ ...carried(state), receivedAt: at },
        itemsPerMessage: Number.POSITIVE_INFINITY,
      });
    }
    expect(await problems(store)).toHaveLength(1);
  });
});

describe('an idempotency key', () => {
  const [caller, key] = ['', 'one'];
  const submission = {
    body: bodyOf('on'),
    encoding: 'identity',
    strict: false,
    caller: '',
  } as const;
  const rawKeyIn = (outcome: IngestOutcome) => (outcome.accepted ? outcome.rawKey : expect.fail());
  const post = async (engine: AwsEngine) => {
    const sent = await ingest({ ...submission, idempotencyKey: key }, engine.intake, {
      bodyBytesMax: 1024 * 1024,
    });
    return rawKeyIn(sent);
  };
  const countAll = async (engine: AwsEngine) => {
    while ((await engine.process()) > 0);
  };
  /** As a restore from before the row was written. */
  const forgetKey = (store: AwsStore) =>
    aws.dynamodb.send(
      new DeleteItemCommand({
        TableName: store.ledgerTable,
        Key: keyItem(idempotencyKey(keyIdOf(caller, key))),
      }),
    );

  it('that was accepted for two batches is named, in both forms', async () => {
    for (const carriesBodies of [false, true]) {
      const store = await createStore(aws);
      const engine = new AwsEngine(aws, store, now, { carriesBodies });
      const first = await post(engine);
      await forgetKey(store);
      engine.now += 1_000;
      const second = await post(engine);
      await countAll(engine);
      const { differences } = await auditOf(aws, store);
      expect(differences).toMatchObject([{ code: 'key_reused', rawKeys: [first, second] }]);
    }
  });

  it('that was accepted for a replayed batch and again is named', async () => {
    const store = await createStore(aws);
    const engine = new AwsEngine(aws, store, now);
    const batchId = makeBatchId(now - dayMs);
    await engine.replayIntake.replay({
      ...submission,
      ...{ accepted: 1, rejected: 0, increments: new Map() },
      idempotency: { key, bodySha256: hash('sha256', submission.body, 'buffer') },
      origin: { batchId, receivedAt: now - dayMs, accepted: 1, rejected: 0 },
    });
    await forgetKey(store);
    const second = await post(engine);
    await countAll(engine);
    const { differences } = await auditOf(aws, store);
    const rawKeys = [second, rawKeyOf(batchId, now - dayMs)];
    expect(differences).toMatchObject([{ code: 'key_reused', rawKeys }]);
  });

  it('that a client uses again after it has expired is no problem', async () => {
    const store = await createStore(aws);
    const engine = new AwsEngine(aws, store, now - 91 * dayMs);
    await post(engine);
    await countAll(engine);
    engine.now = now;
    await post(engine);
    await countAll(engine);
    expect((await auditOf(aws, store)).differences).toEqual([]);
  });
});
