import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { rawKeyOf } from '../../../src/domain/batch-id.ts';
import type { Batch, StoredBatch } from '../../../src/pipeline/ports.ts';
import { listBodies, type RawBodies } from '../../support/list-bodies.ts';
import { batchOf, itemOf } from './intake-contract.ts';

export interface RawStoreHarness {
  readonly rawStore: RawBodies;
  /** Whether the order of batches within a millisecond depends on their size. */
  readonly hasLooseOrder?: boolean;
  /** Takes a batch in, received at that time (milliseconds since 1970). */
  put(batch: Batch, receivedAt: number): Promise<StoredBatch>;
  close(): Promise<void>;
}

const noon = Date.UTC(2023, 5, 16, 12);

/** What every store of raw bodies promises. */
export function describeRawStore(name: string, open: () => Promise<RawStoreHarness>): void {
  describe(`${name} as a raw store`, () => {
    let store: RawStoreHarness;
    beforeEach(async () => {
      store = await open();
    });
    afterEach(() => store.close());

    let puts = 0;
    const next = () => noon + (store.hasLooseOrder === true ? puts++ : 0);

    const list = (range?: { from?: number; to?: number }) => listBodies(store.rawStore, range);

    const batches = [
      batchOf([itemOf(0)]),
      batchOf([itemOf(1), itemOf(2)], { gzip: true }),
      batchOf([], {
        body: Buffer.from('{"processed_devices":[{"type":1},{}], "x":"\u00e4\ufeff"}\n'),
      }),
      batchOf(Array.from({ length: 5000 }, (_, serial) => itemOf(serial))),
    ];

    it('is empty at first', async () => {
      expect(await list()).toEqual([]);
      expect(await store.rawStore.get(rawKeyOf('00000000-0000-8000-8000-000000000000', noon))).toBe(
        undefined,
      );
    });

    it('returns each body byte for byte, with its details', async () => {
      const stored: [StoredBatch, Batch][] = [];
      for (const batch of batches) stored.push([await store.put(batch, noon), batch]);
      for (const [{ batchId, receivedAt }, batch] of stored) {
        const found = await store.rawStore.get(rawKeyOf(batchId, receivedAt));
        const { encoding, accepted, rejected } = batch;
        expect(found).toMatchObject({ batchId, receivedAt, encoding, accepted, rejected });
        expect(Buffer.compare(found?.body ?? Buffer.alloc(0), batch.body)).toBe(0);
      }
    });

    it('keeps apart bodies that are the same', async () => {
      const batch = batchOf([itemOf(0)]);
      const [one, other] = [await store.put(batch, noon), await store.put(batch, noon)];
      expect(one.batchId).not.toBe(other.batchId);
      expect(await list()).toHaveLength(2);
    });

    it('has nothing under any other key', async () => {
      // On the second of March, which some would take for the thirtieth of February.
      const receivedAt = Date.UTC(2023, 2, 2);
      const { batchId } = await store.put(batchOf([itemOf(0)]), receivedAt);
      const key = rawKeyOf(batchId, receivedAt);
      expect(await store.rawStore.get(key)).toBeDefined();
      const time = '2023-03-02T00:00:00.000Z';
      expect(key).toBe(`raw/${time}-${batchId}.json`);
      const others = [
        '',
        batchId,
        key.slice(0, -5),
        ` ${key}`,
        `${key}\n`,
        `/${key}`,
        `raw/../${key}`,
        key.replace('raw/', 'raw//'),
        key.toUpperCase(),
        key.replace(batchId, batchId.toUpperCase()),
        key.replace(batchId, `{${batchId}}`),
        key.replace(batchId, batchId.replaceAll('-', '')),
        key.replace(time, '2023-03-02T00:00:00.001Z'),
        key.replace(time, '2023-03-01T23:59:59.999Z'),
        key.replace(time, '2023-03-02T00:00:00Z'),
        key.replace(time, '2023-03-01T24:00:00.000Z'),
        key.replace(time, '2023-02-30T00:00:00.000Z'),
        key.replace(time, '2023-99-99T99:99:99.999Z'),
        ...Array.from({ length: 36 }, (_, at) => rawKeyOf(changedAt(batchId, at), receivedAt)),
      ];
      for (const other of others.filter((each) => each !== key)) {
        expect(await store.rawStore.get(other), other).toBeUndefined();
      }
    });

    it('lists all in the order they were stored', async () => {
      const stored: StoredBatch[] = [];
      for (const batch of [...batches, ...batches]) stored.push(await store.put(batch, next()));
      const found = await list();
      expect(found.map(({ batchId }) => batchId)).toEqual(stored.map(({ batchId }) => batchId));
      expect(found.map(({ body }) => Buffer.from(body))).toEqual(
        [...batches, ...batches].map(({ body }) => body),
      );
    });

    it('lists what was received in a period, without its end', async () => {
      const stored: StoredBatch[] = [];
      for (const time of [0, 1, 2, 3, 4]) stored.push(await store.put(batchOf([]), noon + time));
      const between = async (range: { from?: number; to?: number }) =>
        (await list(range)).map(({ receivedAt }) => receivedAt - noon);
      expect(await between({})).toEqual([0, 1, 2, 3, 4]);
      expect(await between({ from: noon + 1 })).toEqual([1, 2, 3, 4]);
      expect(await between({ to: noon + 3 })).toEqual([0, 1, 2]);
      expect(await between({ from: noon + 1, to: noon + 3 })).toEqual([1, 2]);
      expect(await between({ from: noon + 2, to: noon + 2 })).toEqual([]);
      expect(await between({ from: noon + 5 })).toEqual([]);
      expect(await between({ from: noon + 3, to: noon + 1 })).toEqual([]);
    });

    it('what is kept of a list stays as it is', async () => {
      for (const batch of batches) await store.put(batch, next());
      const kept = (await list()).slice(0, 2);
      await list();
      expect(kept.map(({ body }) => Buffer.from(body))).toEqual(
        batches.slice(0, 2).map(({ body }) => body),
      );
    });
  });
}

function changedAt(batchId: string, at: number): string {
  const digit = batchId.charAt(at);
  return batchId.slice(0, at) + (digit === '0' ? '1' : '0') + batchId.slice(at + 1);
}
