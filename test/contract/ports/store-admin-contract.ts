import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { rawKeyOf, type BatchId } from '../../../src/domain/batch-id.ts';
import type { Difference } from '../../../src/pipeline/findings.ts';
import type { Batch, StoredBatch } from '../../../src/pipeline/ports.ts';
import type {
  DeadLetterView,
  RawBatchEntry,
  ReceivedRange,
  StoreAdmin,
} from '../../../src/pipeline/store-admin.ts';
import { newDataDirectory } from '../../support/embedded-store.ts';
import { batchOf, itemOf } from './intake-contract.ts';

/** A store of its own, and the hands that its trials need. */
export interface StoreAdminHarness {
  readonly admin: StoreAdmin;
  /** Takes a batch in. */
  put(batch: Batch): Promise<StoredBatch>;
  /** Makes a dead letter of the batch that was put last, for this reason. It is not counted. */
  kill(reason: string): Promise<void>;
  /** Adds to one counter what no batch has. */
  miscount(): Promise<void>;
  /** Counts all that is queued. */
  settle(): Promise<void>;
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
      readonly at: number;
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
          const { rawKey, receivedAt, at, bytes } = entry;
          const raw = await entry.load();
          const loaded = raw && { ...raw, body: Uint8Array.from(raw.body) };
          found.push({ rawKey, receivedAt, at, bytes, details: await entry.details(), loaded });
        }
      }
      return found;
    }

    it('has a day rule', () => {
      expect(store.admin.dayZone()).toBe('as-written');
    });

    it('lists its raw batches in order, with their sizes and details', async () => {
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

    /** The number of items of all counters. */
    async function countedItems(): Promise<number> {
      const counters = store.admin.openCounters();
      expect(counters.pendingBytes).toBe(0);
      let items = 0;
      const query = { from: '2023-06-01', to: '2023-06-30', types: [], states: [] };
      const isDone = await counters.query(query, (rows) => {
        for (const { count } of rows) items += count;
        return true;
      });
      expect(isDone).toBe(true);
      return items;
    }

    async function deadLetters(): Promise<DeadLetterView[]> {
      const found: DeadLetterView[] = [];
      const end = await store.admin.deadLetters.list(100, (page) => {
        found.push(...page);
        return Promise.resolve();
      });
      expect(end).toEqual({ isMore: false, hidden: 0 });
      return found;
    }

    const all = { limit: 100, isChosen: () => true };

    it('counts what its counters say', async () => {
      await putAll();
      await store.settle();
      expect(await countedItems()).toBe(4);
    });

    it('has no dead letters at first', async () => {
      await putAll();
      await store.settle();
      expect(await deadLetters()).toEqual([]);
    });

    it('lists a dead letter with its batch, its reason and its times', async () => {
      const { batchId, receivedAt } = await store.put(batchOf([itemOf(0), itemOf(1)]));
      await store.kill('a_reason: why');
      const [letter, ...others] = await deadLetters();
      const rawKey = rawKeyOf(batchId, receivedAt);
      expect(letter).toMatchObject({ batchId, rawKey, items: 2, reason: 'a_reason: why' });
      expect(letter?.droppedAt).toBeUndefined();
      expect(letter?.body).toBeDefined();
      expect(others).toEqual([]);
      expect(await countedItems()).toBe(0);
    });

    it('counts the chosen dead letters again, once', async () => {
      const { batchId } = await store.put(batchOf([itemOf(0), itemOf(1)]));
      await store.kill('a_reason: why');
      const names: string[] = [];
      const none = { limit: 100, isChosen: (each: readonly string[]) => !names.push(...each) };
      const reports: string[] = [];
      const report = (id: string, outcome: string) => reports.push(`${id}: ${outcome}`);
      expect(await store.admin.deadLetters.redrive(none, report)).toMatchObject({ done: 0 });
      expect(names).toContain(batchId);
      for (const done of [1, 0]) {
        const result = await store.admin.deadLetters.redrive(all, report);
        expect(result).toMatchObject({ done, left: [], isMore: false });
        await store.settle();
        expect(await countedItems()).toBe(2);
        expect(await deadLetters()).toEqual([]);
      }
    });

    it('drops the chosen dead letters, and lists them forever', async () => {
      const { batchId } = await store.put(batchOf([itemOf(0)]));
      await store.kill('a_reason: why');
      expect(await store.admin.deadLetters.drop(all)).toMatchObject({ dropped: 1, isMore: false });
      const [letter] = await deadLetters();
      expect(letter).toMatchObject({ batchId, reason: 'a_reason: why' });
      expect(letter?.droppedAt).toBeGreaterThan(0);
      const again = await store.admin.deadLetters.redrive(all, () => undefined);
      expect(again).toMatchObject({ done: 0 });
      await store.settle();
      expect(await countedItems()).toBe(0);
    });

    const reading = { dates: undefined, width: 4, requestsPerSecond: 10_000, inFlightMs: 0 };

    function record() {
      const codes: string[] = [];
      const onDifference = ({ code }: Difference) => void codes.push(code);
      return { codes, events: { onDifference, onProgress() {}, onEstimate() {} } };
    }

    async function auditOf(received?: ReceivedRange) {
      const { codes, events } = record();
      return { ...(await store.admin.audit({ ...reading, received }, events)), codes };
    }

    async function rebuild(dryRun: boolean) {
      const { codes, events } = record();
      const steps = { dryRun, withoutDamaged: false, workDir: newDataDirectory() };
      return { ...(await store.admin.rebuild({ ...reading, ...steps }, events)), codes };
    }

    it('agrees with its raw bodies, as a whole and in part', async () => {
      await putAll();
      await store.settle();
      const whole = await auditOf();
      expect(whole).toMatchObject({ codes: [], batches: 3, items: 4, unsettled: 0, notes: [] });
      expect(whole.counters).toBeGreaterThan(0);
      const part = await auditOf({ from: 0, to: Number.MAX_SAFE_INTEGER });
      expect(part).toMatchObject({ codes: [], batches: 3, items: 4, counters: 0 });
    });

    it('finds a wrong counter, and a rebuild corrects it', async () => {
      await putAll();
      await store.settle();
      await store.miscount();
      expect((await auditOf()).codes).toEqual(['counter_differs']);
      const dry = await rebuild(true);
      expect(dry).toMatchObject({ isSwitched: false, codes: ['counter_differs'] });
      expect((await auditOf()).codes).toEqual(['counter_differs']);
      const done = await rebuild(false);
      expect(done).toMatchObject({ isSwitched: true, codes: ['counter_differs'] });
      expect((await auditOf()).codes).toEqual([]);
      expect(await countedItems()).toBe(4);
      expect(await store.admin.dropReplaced()).toMatchObject({ wereKept: true });
      expect(await store.admin.dropReplaced()).toMatchObject({ wereKept: false });
    });

    it('identifies for a replay which batches are dead letters', async () => {
      await store.put(batchOf([itemOf(0)]));
      expect(await store.admin.replayFacts()).toMatchObject({ missing: undefined });
      const { at } = (await list())[0] ?? expect.fail();
      const { total = at, deadLetters } = await store.admin.replayFacts();
      expect(total).toBeGreaterThanOrEqual(at);
      expect(deadLetters.size).toBe(0);
    });

    it('accepts batches of another installation, once', async () => {
      const [batch = expect.fail()] = batches;
      const receivedAt = Date.now() - 1_000;
      const { accepted, rejected, body, encoding } = batch;
      const replayOf = { batchId: unknown, receivedAt, accepted, rejected };
      const named = { strict: false, caller: '', idempotencyKey: undefined };
      const warn = (message: string) => expect.fail(message);
      const target = await store.admin.openReplayTarget('as-written', warn);
      expect(target.dayZone).toBe('as-written');
      for (const isKnown of [false, true]) {
        const outcome = await target.ingest({ body, encoding, ...named, replayOf });
        expect(outcome).toMatchObject({ accepted: true, batchId: unknown, isKnown });
      }
      await target.close();
      await store.settle();
      expect(await countedItems()).toBe(1);
    });

    it('lists the same batches for a copy', async () => {
      const rawKeys = await putAll();
      const copied = await list(undefined, { keys: 'kept' });
      expect(copied.map(({ rawKey }) => rawKey)).toEqual(rawKeys);
    });
  });
}
