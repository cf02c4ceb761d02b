import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { rawKeyOf, type BatchId } from '../../../src/domain/batch-id.ts';
import type { Batch, StoredBatch } from '../../../src/pipeline/ports.ts';
import type {
  RawBatchEntry,
  ReceivedRange,
  StoreAdmin,
} from '../../../src/pipeline/store-admin.ts';
import { batchOf, itemOf } from './intake-contract.ts';

/** A store of its own, and the hands that its trials need. */
export interface StoreAdminHarness {
  readonly admin: StoreAdmin;
  /** Takes a batch in. */
  put(batch: Batch): Promise<StoredBatch>;
  close(): Promise<void>;
}

/** What every `StoreAdmin` promises. */
export function describeStoreAdmin(name: string, open: () => Promise<StoreAdminHarness>): void {
  describe(`${name} for operators`, () => {
    let store: StoreAdminHarness;
    beforeEach(async () => {
      store = await open();
    });
    afterEach(() => store.close());

    const batches = [
      batchOf([itemOf(0)]),
      batchOf([itemOf(1), itemOf(2)], { gzip: true }),
      batchOf([itemOf(3)], { key: 'a-key' }),
    ];
    const unknown = '00000000-0000-4000-8000-000000000000' as BatchId;

    async function putAll(): Promise<string[]> {
      const rawKeys: string[] = [];
      for (const batch of batches) {
        const { batchId, receivedAt } = await store.put(batch);
        rawKeys.push(rawKeyOf(batchId, receivedAt));
      }
      return rawKeys;
    }

    interface Listed extends Pick<RawBatchEntry, 'rawKey' | 'receivedAt' | 'bytes'> {
      readonly details: Awaited<ReturnType<RawBatchEntry['details']>>;
      readonly loaded: Awaited<ReturnType<RawBatchEntry['load']>>;
    }

    async function list(
      range?: ReceivedRange,
      ...more: { readonly keys: 'kept' }[]
    ): Promise<Listed[]> {
      const found: Listed[] = [];
      for await (const page of store.admin.raw.list(range, ...more)) {
        for (const entry of page) {
          if (entry.damage !== undefined) throw new Error(entry.damage);
          const { rawKey, receivedAt, bytes } = entry;
          const raw = await entry.load();
          const loaded = raw && { ...raw, body: Uint8Array.from(raw.body) };
          found.push({ rawKey, receivedAt, bytes, details: await entry.details(), loaded });
        }
      }
      return found;
    }

    it('has a day rule', () => {
      expect(store.admin.dayZone()).toBe('as-written');
    });

    it('lists its raw batches in order, with their sizes and what is known of them', async () => {
      const rawKeys = await putAll();
      const listed = await list();
      expect(listed.map(({ rawKey }) => rawKey)).toEqual(rawKeys);
      for (const [at, { rawKey, receivedAt, bytes, details, loaded }] of listed.entries()) {
        const { encoding, accepted, rejected, body } = batches[at] ?? expect.fail(rawKey);
        expect(rawKey).toContain(new Date(receivedAt).toISOString());
        expect(bytes).toBe(body.length);
        expect(details).toMatchObject({ encoding, accepted, rejected });
        expect(loaded?.details).toMatchObject({ encoding, accepted, rejected });
        expect(Buffer.compare(loaded?.body ?? Buffer.alloc(0), body)).toBe(0);
      }
    });

    it('lists those of a time', async () => {
      await putAll();
      const all = await list();
      const first = all[0]?.receivedAt ?? 0;
      const last = all.at(-1)?.receivedAt ?? 0;
      const endless = { from: first, to: Number.MAX_SAFE_INTEGER };
      expect(await list(endless)).toHaveLength(batches.length);
      expect(await list({ from: 0, to: first })).toEqual([]);
      expect(await list({ from: last + 1, to: last + 2 })).toEqual([]);
    });

    it('gives back a body by its raw key and by its batch id', async () => {
      const batch = batches[1] ?? expect.fail();
      const { batchId, receivedAt } = await store.put(batch);
      for (const wanted of [batchId, rawKeyOf(batchId, receivedAt)]) {
        expect(Buffer.compare(await store.admin.raw.get(wanted), batch.body)).toBe(0);
      }
    });

    it('says that it does not have a body', async () => {
      await putAll();
      const missing = rawKeyOf(unknown, Date.now());
      await expect((async () => store.admin.raw.get(missing))()).rejects.toThrow(
        `${missing} is not in the `,
      );
    });

    it('lists the same batches for a copy', async () => {
      const rawKeys = await putAll();
      const copied = await list(undefined, { keys: 'kept' });
      expect(copied.map(({ rawKey }) => rawKey)).toEqual(rawKeys);
    });
  });
}
