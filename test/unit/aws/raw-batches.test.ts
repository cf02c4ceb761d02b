import { describe, expect, it } from 'vitest';

import { batchIdMaker, rawKeyOf, type BatchIdMaker } from '../../../src/domain/batch-id.ts';
import { s3BodyGroups } from '../../../src/engines/aws/intake/body-groups.ts';
import { s3RawBatches } from '../../../src/engines/aws/intake/raw-batches.ts';
import type { CarriedBatch } from '../../../src/pipeline/chunks/carried-batch.ts';
import { earlierCarriedId } from '../../support/aws/earlier-ids.ts';
import { randomFrom } from '../../model/simulated-aws/aws-random.ts';
import { AwsSimulation, bucket } from '../../model/simulated-aws/aws-simulation.ts';
import { PutObjectCommand } from '@aws-sdk/client-s3';

const dayMs = 86_400_000;
const midnight = Date.UTC(2026, 10, 30);

function open(pageKeys: number) {
  const simulation = new AwsSimulation({ now: () => midnight, makeId: () => 'x', pageKeys });
  const sent: string[] = [];
  const client = {
    send: (command: object): Promise<never> => {
      sent.push(command.constructor.name);
      // As a request fails: not at once.
      return new Promise((resolve) => resolve(simulation.execute(command) as never));
    },
  };
  const groups = s3BodyGroups(client, bucket);
  return { simulation, sent, client, groups, batches: s3RawBatches(client, bucket) };
}

const all = { from: 0, to: Number.MAX_SAFE_INTEGER };

async function listed(store: ReturnType<typeof open>, range = all): Promise<string[]> {
  const pages = await Array.fromAsync(store.batches.list(range));
  return pages
    .flat()
    .map((entry) => ('rawKey' in entry ? entry.rawKey : `damaged: ${entry.damage}`));
}

function batchOf(make: BatchIdMaker, receivedAt: number): CarriedBatch {
  return {
    ...{ batchId: make(receivedAt, 1), receivedAt, accepted: 1, rejected: 0 },
    ...{ encoding: 'identity', body: Buffer.from('{}'), sha256: '' },
  };
}

describe('raw batches of both forms', () => {
  it.each(Array.from({ length: 40 }, (_, seed) => seed))(
    'are listed once, in order: seed %i',
    async (seed) => {
      const random = randomFrom(seed);
      const makeBatchId = batchIdMaker((count) => random.bytes(count));
      const store = open(1 + random.below(4));
      const expected = new Set<string>();
      const carried: CarriedBatch[] = [];
      const spanMs = random.pick([12, 60_000, 2 * dayMs]);
      for (let count = random.below(30); count > 0; count--) {
        const at = midnight - spanMs / 2 + random.below(spanMs);
        const plain = batchIdMaker((size) => random.bytes(size))(at);
        const body = Buffer.from(`body ${count}`);
        if (random.chance(0.4)) {
          const Key = rawKeyOf(plain, at);
          expected.add(Key);
          await store.client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: body }));
        } else {
          const batchId = random.chance(0.5)
            ? batchIdMaker((size) => random.bytes(size))(at, 1)
            : earlierCarriedId(plain, 1);
          carried.push({
            batchId,
            receivedAt: at,
            accepted: 1,
            rejected: 0,
            encoding: 'identity',
            body,
            sha256: '',
          });
          expected.add(rawKeyOf(batchId, at));
        }
      }
      // Groups overlap, and batches are in several.
      const left = [...carried];
      while (left.length > 0) {
        const group = left.splice(0, 1 + random.below(6));
        await store.groups.put([...group, ...carried.filter(() => random.chance(0.1))]);
      }
      expect(await listed(store)).toEqual([...expected].sort());
      const [from, to] = [midnight - spanMs / 4, midnight + spanMs / 4];
      const within = [...expected].sort().filter((key) => {
        const at = Date.parse(key.slice(4, 28));
        return at >= from && at < to;
      });
      expect(await listed(store, { from, to })).toEqual(within);
      for (const { batchId, receivedAt, body } of carried) {
        expect(await store.batches.get(rawKeyOf(batchId, receivedAt))).toEqual(body);
      }
      expect(await store.batches.get(rawKeyOf(makeBatchId(midnight, 1), midnight))).toBeUndefined();
    },
  );

  it('are read by the group that may have them, and by no other', async () => {
    const store = open(1_000);
    const make = batchIdMaker(() => Buffer.alloc(8, 1));
    const batches = [0, 1, 2].map((hours) => batchOf(make, midnight + hours * 3_600_000));
    for (const batch of batches) await store.groups.put([batch]);
    store.sent.length = 0;
    const [, { batchId, receivedAt } = expect.fail()] = batches;
    expect(await store.groups.find(rawKeyOf(batchId, receivedAt))).toMatchObject({ batchId });
    expect(store.sent).toEqual(['ListObjectsV2Command', 'GetObjectCommand']);
  });

  it('of two days are in two groups, each under its day', async () => {
    const store = open(1_000);
    const make = batchIdMaker(() => Buffer.alloc(8, 1));
    const batches = [-1, 0].map((offset) => batchOf(make, midnight + offset));
    await store.groups.put(batches);
    expect([...store.simulation.s3.objects.keys()]).toEqual([
      expect.stringMatching(
        /^grouped\/2026-11-29\/2026-11-29T23:59:59\.999Z-2026-11-29T23:59:59\.999Z-[0-9a-f]{32}\.jsonl\.gz$/,
      ),
      expect.stringMatching(/^grouped\/2026-11-30\/2026-11-30T00:00:00\.000Z-/),
    ] as string[]);
  });
});
