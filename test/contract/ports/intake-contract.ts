import { hash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { rawKeyOf } from '../../../src/domain/batch-id.ts';
import { readBatch, countEvents } from '../../../src/domain/batch.ts';
import {
  compareCounters,
  mergeIncrements,
  rowsOfIncrements,
  type CounterRow,
  type Increments,
} from '../../../src/domain/counter.ts';
import type { Batch, EarlierBatch, Intake, StoredBatch } from '../../../src/pipeline/ports.ts';
import { listBodies, type RawBodies } from '../../support/list-bodies.ts';
import { isNightly } from '../../support/run/tier.ts';

/** An engine from its intake to its counters, and the hands that its trials need. */
export interface IntakeHarness {
  readonly intake: Intake;
  readonly rawStore: RawBodies;
  /** How long idempotency keys are kept, in milliseconds. */
  readonly keepKeysMs: number;
  /**
   * Whether a batch under a key shows only once it is counted: until then `recall` may miss it, and
   * `accept` takes it for the earlier one even if that was never stored.
   */
  readonly showsOnceCounted?: boolean;
  /** Counts all that is queued. */
  drain(): Promise<void>;
  /** All counters, in order. */
  counters(): Promise<readonly CounterRow[]>;
  /** Moves the engine's clock on. */
  advance(milliseconds: number): void;
  /** Ends the engine as a crash would and starts it, in order again, on what it stored. */
  restart(): Promise<void>;
  /** Lets the storage fail from now on, until the restart, in the way of that name. */
  failStorage(fault: string): void;
  /** Fills the backlog of the engine, so that it accepts nothing new until it is drained. */
  overload(): Promise<void>;
  close(): Promise<void>;
}

export interface Item {
  readonly type: string;
  readonly state: string;
  readonly timestamp: string;
}

export function itemOf(serial: number): Item {
  return { type: `type ${serial % 3}`, state: 'ready', timestamp: '2023-06-16T13:00:00Z' };
}

export function bodyOf(items: readonly Item[]): Buffer {
  return Buffer.from(JSON.stringify({ processed_devices: items }));
}

/** A batch as the ingest use case hands it over. */
export function batchOf(
  items: readonly Item[],
  options: { key?: string; caller?: string; gzip?: boolean; body?: Buffer } = {},
): Batch {
  const plain = options.body ?? bodyOf(items);
  const reading = readBatch(plain);
  if (!reading.readable) throw new Error(reading.detail);
  const bodySha256 = hash('sha256', plain, 'buffer');
  return {
    body: options.gzip === true ? gzipSync(plain) : plain,
    encoding: options.gzip === true ? 'gzip' : 'identity',
    caller: options.caller ?? '',
    idempotency: options.key === undefined ? undefined : { key: options.key, bodySha256 },
    accepted: reading.events.length,
    rejected: reading.rejected,
    increments: countEvents(reading.events),
  };
}

export function sortedRows(...all: Increments[]): CounterRow[] {
  const sum: Increments = new Map();
  for (const increments of all) mergeIncrements(sum, increments);
  return [...rowsOfIncrements(sum)].sort(compareCounters);
}

/** What every `Intake` promises, with the raw store and the counters behind it. */
export function describeIntake(
  name: string,
  storageFaults: readonly string[],
  open: () => Promise<IntakeHarness>,
): void {
  describe(`${name} as an intake`, () => {
    let engine: IntakeHarness;
    beforeEach(async () => {
      engine = await open();
    });
    afterEach(() => engine.close());

    async function store(batch: Batch): Promise<StoredBatch> {
      const result = await engine.intake.accept(batch);
      if (result.earlier !== undefined) throw new Error('the batch was known already');
      return result.stored;
    }

    async function repeat(batch: Batch): Promise<EarlierBatch> {
      const result = await engine.intake.accept(batch);
      if (result.earlier === undefined) throw new Error('the batch was treated as a new one');
      return result.earlier;
    }

    async function expectCounted(...batches: readonly Batch[]): Promise<void> {
      await engine.drain();
      expect(await engine.counters()).toEqual(
        sortedRows(...batches.map(({ increments }) => increments)),
      );
    }

    describe('an accepted batch', () => {
      const odd = Buffer.from(
        ' {"other":[1, 2],\n"processed_devices" :[{"type":"größe 🦊","state":"a#b",' +
          '"timestamp":"2023-06-16T23:30:00-05:00","kept":null},{"type":7}]}\t',
      );

      it.each([
        ['an ordinary one', batchOf([itemOf(0), itemOf(1)])],
        ['one without items', batchOf([])],
        ['one with refused items, odd white space and names', batchOf([], { body: odd })],
        ['a compressed one', batchOf([itemOf(2)], { gzip: true })],
        ['one with a key', batchOf([itemOf(3)], { key: 'k'.repeat(255), caller: 'gateway' })],
        ['a large one', batchOf(Array.from({ length: 20_000 }, (_, serial) => itemOf(serial)))],
      ])('is in the raw store, byte for byte, and will be counted: %s', async (_, batch) => {
        const { batchId, receivedAt } = await store(batch);
        const raw = await engine.rawStore.get(rawKeyOf(batchId, receivedAt));
        const { body, encoding, accepted, rejected } = batch;
        expect(raw).toMatchObject({ batchId, receivedAt, encoding, accepted, rejected });
        expect(Buffer.compare(raw?.body ?? Buffer.alloc(0), body)).toBe(0);
        await expectCounted(batch);
        await engine.drain();
        await expectCounted(batch);
      });

      it('is counted after a restart too', async () => {
        const batches = [batchOf([itemOf(0)]), batchOf([itemOf(1)]), batchOf([itemOf(2)])] as const;
        await store(batches[0]);
        await engine.drain();
        await store(batches[1]);
        await engine.restart();
        await store(batches[2]);
        await expectCounted(...batches);
      });

      it('is one of its own, however many arrive at once, and they are stored in order', async () => {
        // More than the ten messages of a request to SQS.
        const length = isNightly() ? 50 : 20;
        const batches = Array.from({ length }, (_, serial) => batchOf([itemOf(serial)]));
        const stored = await Promise.all(batches.map(store));
        expect(new Set(stored.map(({ batchId }) => batchId)).size).toBe(length);
        const raw = await listBodies(engine.rawStore);
        expect(raw.map(({ batchId }) => batchId)).toEqual(stored.map(({ batchId }) => batchId));
        await expectCounted(...batches);
      });

      it('without a key is a new one each time', async () => {
        const batch = batchOf([itemOf(0)]);
        const [one, other] = [await store(batch), await store(batch)];
        expect(one.batchId).not.toBe(other.batchId);
        await expectCounted(batch, batch);
      });
    });

    describe('a batch that is repeated under its key', () => {
      const batch = batchOf([itemOf(0), itemOf(1)], { key: 'a', caller: 'gateway' });

      async function expectOne({ batchId, receivedAt }: StoredBatch): Promise<void> {
        const sha = batch.idempotency?.bodySha256;
        const repeated = await repeat(batch);
        const recalled = await engine.intake.recall('gateway', 'a');
        for (const earlier of [repeated, engine.showsOnceCounted === true ? repeated : recalled]) {
          expect(earlier).toMatchObject({ batchId, receivedAt });
          expect(Buffer.compare(earlier?.bodySha256 ?? Buffer.alloc(0), sha ?? batch.body)).toBe(0);
        }
        expect(await listBodies(engine.rawStore)).toHaveLength(1);
        await expectCounted(batch);
        await repeat(batch);
        expect(await engine.intake.recall('gateway', 'a')).toMatchObject({ batchId, receivedAt });
        await expectCounted(batch);
        expect(await listBodies(engine.rawStore)).toHaveLength(1);
      }

      it('is the earlier one', async () => {
        await expectOne(await store(batch));
      });

      it('is the earlier one after that was counted', async () => {
        const stored = await store(batch);
        await engine.drain();
        await expectOne(stored);
      });

      it('is the earlier one after a restart, counted or not', async () => {
        const stored = await store(batch);
        await engine.restart();
        await expectOne(stored);
        await engine.restart();
        await expectOne(stored);
      });

      it('is stored once if several arrive at the same time', async () => {
        const results = await Promise.all(
          Array.from({ length: 8 }, () => engine.intake.accept(batch)),
        );
        const stored = results.flatMap((result) =>
          result.earlier === undefined ? [result.stored] : [],
        );
        // If one completes the intake that another began, each may treat the other as the first.
        expect(stored.length).toBeLessThanOrEqual(1);
        const [{ batchId, receivedAt } = { batchId: '', receivedAt: 0 }] = results.map(
          (result) => result.earlier ?? result.stored,
        );
        for (const result of results) {
          expect(result.earlier ?? result.stored).toMatchObject({ batchId, receivedAt });
        }
        await expectOne({ batchId, receivedAt });
      });

      it('is recognised by its body even if compressed again', async () => {
        const { batchId } = await store(batch);
        const options = { key: 'a', caller: 'gateway', gzip: true };
        expect(await repeat(batchOf([itemOf(0), itemOf(1)], options))).toMatchObject({
          batchId,
          bodySha256: batch.idempotency?.bodySha256,
        });
      });

      it('is new again once the key has expired, and its own next retry is known', async () => {
        const stored = await store(batch);
        await engine.drain();
        engine.advance(engine.keepKeysMs - 1);
        expect(await repeat(batch)).toMatchObject(stored);
        engine.advance(1);
        expect(await engine.intake.recall('gateway', 'a')).toBeUndefined();
        const again = await store(batch);
        expect(again.batchId).not.toBe(stored.batchId);
        expect(await repeat(batch)).toMatchObject(again);
        await expectCounted(batch, batch);
        expect(await repeat(batch)).toMatchObject(again);
      });
    });

    describe('another body under a key that was used', () => {
      it.each(['at once', 'counted', 'restarted'])(
        'is distinguished and not stored: %s',
        async (when) => {
          const first = batchOf([itemOf(0)], { key: 'a' });
          const other = batchOf([itemOf(1)], { key: 'a' });
          const { batchId } = await store(first);
          if (when === 'counted') await engine.drain();
          if (when === 'restarted') await engine.restart();
          const earlier = await repeat(other);
          expect(earlier.batchId).toBe(batchId);
          expect(Buffer.from(earlier.bodySha256)).toEqual(first.idempotency?.bodySha256);
          expect(await listBodies(engine.rawStore)).toHaveLength(1);
          await expectCounted(first);
        },
      );
    });

    it('keeps the keys of different callers apart', async () => {
      const keys = [
        ['', 'abc'],
        ['a', 'bc'],
        ['ab', 'c'],
        ['abc', 'abc'],
        ['ABC', 'abc'],
      ] as const;
      const batches = keys.map(([caller, key], serial) =>
        batchOf([itemOf(serial)], { caller, key }),
      );
      const stored = [];
      for (const batch of batches) stored.push(await store(batch));
      for (const state of ['pending', 'counted']) {
        for (const [index, [caller, key]] of keys.entries()) {
          if (state === 'pending' && engine.showsOnceCounted === true) continue;
          expect(await engine.intake.recall(caller, key), state).toMatchObject(stored[index] ?? {});
        }
        expect(await engine.intake.recall('', 'ABC')).toBeUndefined();
        expect(await engine.intake.recall('abcabc', '')).toBeUndefined();
        await expectCounted(...batches);
      }
    });

    it.each(storageFaults)('acknowledges nothing that it could not store: %s', async (fault) => {
      const known = batchOf([itemOf(0)], { key: 'known' });
      await store(known);
      await engine.drain();
      engine.failStorage(fault);
      const failed = [1, 1, 10, 2].map((count, index) =>
        batchOf(
          Array.from({ length: count }, () => ({ ...itemOf(0), type: `failed ${index}` })),
          {
            ...(index % 2 === 0 && { key: `failed ${index}` }),
          },
        ),
      );
      // Two at once, and then two that come after the failure; and a retry of the first.
      const [one, two, three, four] = failed.map((batch) => () => engine.intake.accept(batch));
      const settled = [
        ...(await Promise.allSettled([one?.(), two?.(), one?.()])),
        ...(await Promise.allSettled([three?.()])),
        ...(await Promise.allSettled([four?.(), one?.()])),
      ];
      for (const result of settled) {
        expect(result).toMatchObject({
          status: 'rejected',
          reason: { name: 'Unavailable', code: 'storage_failed' },
        });
      }

      // Each of them may have been stored, but then as a whole: it is counted and its key known.
      await engine.restart();
      await engine.drain();
      const raw = await listBodies(engine.rawStore);
      const kept = [known, ...failed].filter(({ body }) =>
        raw.some((each) => Buffer.compare(each.body, body) === 0),
      );
      expect(raw).toHaveLength(kept.length);
      expect(kept).toContain(known);
      await expectCounted(...kept);
      for (const batch of failed) {
        const isNew = (await engine.intake.accept(batch)).earlier === undefined;
        const isKept = kept.includes(batch);
        const isTold = batch.idempotency !== undefined && engine.showsOnceCounted !== true;
        if (isTold) expect(isNew).toBe(!isKept);
        if (isNew || !isKept) kept.push(batch);
      }
      await expectCounted(...kept);
    });

    it('refuses new batches while the backlog is full, and answers retries', async () => {
      const known = batchOf([itemOf(0)], { key: 'known' });
      const stored = await store(known);
      await engine.drain();
      await engine.overload();
      const before = await listBodies(engine.rawStore);
      const fresh = batchOf([itemOf(1)], { key: randomBytes(8).toString('hex') });
      await expect(engine.intake.accept(fresh)).rejects.toMatchObject({
        name: 'Unavailable',
        code: 'overloaded',
      });
      expect(await repeat(known)).toMatchObject(stored);
      expect(await engine.intake.recall('', 'known')).toMatchObject(stored);
      expect(await listBodies(engine.rawStore)).toHaveLength(before.length);
      await engine.drain();
      if (engine.showsOnceCounted === true) await repeat(fresh);
      else await store(fresh);
    });
  });
}
