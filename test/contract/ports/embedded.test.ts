import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { batchIdAtPosition, formatBatchId } from '../../../src/domain/batch-id.ts';
import { mergeIncrements, type CounterRow, type Increments } from '../../../src/domain/counter.ts';
import { countersPerDayMaxDefault } from '../../../src/domain/day-bound.ts';
import { asWritten } from '../../../src/domain/day.ts';
import { dateOfTimestamp } from '../../../src/domain/timestamp.ts';
import { CounterAdmission } from '../../../src/engines/embedded/writer/counter-admission.ts';
import { nodeFileSystem, type FileSystem } from '../../../src/engines/embedded/log/file-system.ts';
import { encodeFrame, frameLength } from '../../../src/engines/embedded/log/frame.ts';
import { LogIntake } from '../../../src/engines/embedded/writer/intake.ts';
import { keyOf, LogProcessor } from '../../../src/engines/embedded/writer/processor.ts';
import { listBodies } from '../../support/list-bodies.ts';
import { LogRawStore } from '../../support/log-raw-store.ts';
import { LogReader } from '../../../src/engines/embedded/log/log-reader.ts';
import { findReceipt } from '../../../src/engines/embedded/reader/receipts.ts';
import { LogDamaged } from '../../../src/engines/embedded/log/recovery.ts';
import { saltOfLog } from '../../../src/engines/embedded/log/segment.ts';
import { SegmentedLog } from '../../../src/engines/embedded/log/segmented-log.ts';
import {
  SqliteCounterStore,
  type KeyedBatch,
  type LogDelivery,
} from '../../../src/engines/embedded/store/counter-store.ts';
import { openDatabase } from '../../../src/engines/embedded/store/schema.ts';
import { recount } from '../../../src/pipeline/recount.ts';
import type { Batch, Intake, Receipts, StoredBatch } from '../../../src/pipeline/ports.ts';
import { describeCounterStore } from './counter-store-contract.ts';
import { batchOf, describeIntake, itemOf, sortedRows } from './intake-contract.ts';
import { describeRawStore } from './raw-store-contract.ts';
import { describeReceipts } from './receipts-contract.ts';
import { rounds } from '../../support/run/tier.ts';

const start = Date.UTC(2023, 5, 16, 12);
const interleavings = rounds({ what: 'interleavings of a store', quick: 15, nightly: 50 });

interface EngineOptions {
  readonly segmentBytes: number;
  readonly backlogBytesMax: number;
  readonly keepKeysMs: number;
  /** Receives a delivery once it is durable; default: offer it to the processor. */
  readonly onDurable: ((delivery: LogDelivery) => void) | undefined;
}

const defaults: EngineOptions = {
  segmentBytes: 16 * 1024,
  backlogBytesMax: 1024 * 1024,
  keepKeysMs: 90 * 86_400_000,
  onDurable: undefined,
};

/** The embedded engine's adapters wired up in one thread, on a directory of their own. */
class Engine {
  readonly options: EngineOptions;
  readonly directory: string;
  readonly databasePath: string;
  readonly logDirectory: string;
  now = start;
  /** Since the harness was made: a clock that no restart sets back. */
  elapsedMs = 0;
  fault: string | undefined;
  database!: DatabaseSync;
  store!: SqliteCounterStore;
  log!: SegmentedLog;
  reader!: LogReader;
  rawStore!: LogRawStore;
  receipts!: Receipts;
  processor!: LogProcessor;
  intake!: LogIntake;
  failures!: unknown[];

  constructor(options: Partial<EngineOptions> = {}) {
    this.options = { ...defaults, ...options };
    this.directory = mkdtempSync(join(tmpdir(), 'embedded-ports-'));
    this.databasePath = join(this.directory, 'pipeline.db');
    this.logDirectory = join(this.directory, 'log');
    mkdirSync(this.logDirectory);
    this.start();
  }

  start(): void {
    const { segmentBytes, backlogBytesMax } = this.options;
    this.fault = undefined;
    this.failures = [];
    this.database = openDatabase(this.databasePath);
    this.store = new SqliteCounterStore(this.database, () => this.elapsedMs);
    const admission = new CounterAdmission({
      store: this.store,
      countersPerDayMax: countersPerDayMaxDefault,
      dayZone: asWritten,
      onForget: () => this.processor.forgetAdmitted(),
      now: () => this.now,
    });
    const uncounted: (KeyedBatch & { end: number })[] = [];
    this.log = SegmentedLog.open({
      directory: this.logDirectory,
      fileSystem: this.#fileSystem(),
      segmentBytes,
      countedThrough: this.store.position,
      onUncounted: (scanned) => {
        const { record, end } = scanned;
        admission.addUncounted(scanned);
        const key = keyOf(record);
        if (key !== undefined) uncounted.push({ ...key, end });
      },
      now: () => this.now,
    });
    this.reader = new LogReader(nodeFileSystem, this.logDirectory);
    const positionOfReplayed = (batchId: string) => this.store.findReplayed(batchId);
    const recordAt = (position: number) => this.reader.recordAt(position);
    this.rawStore = new LogRawStore(this.reader, positionOfReplayed);
    const counted = {
      countedThrough: () => this.store.position,
      isDeadLetter: (position: number) =>
        this.deadLetters().some((each) => each['position'] === position),
    };
    const find = (batchId: string) =>
      findReceipt({ recordAt, positionOfReplayed }, counted, batchId);
    this.receipts = { find: (batchId) => Promise.resolve(find(batchId)) };
    this.processor = new LogProcessor({
      dayZone: asWritten,
      store: this.store,
      reader: new LogReader(nodeFileSystem, this.logDirectory),
      durableEnd: () => this.log.durableEnd,
      onCounted: (through) => this.intake.forgetKeys(through),
      now: () => this.now,
    });
    this.intake = new LogIntake(
      {
        log: this.log,
        admission,
        findKey: (caller, key) => this.store.findKey(caller, key),
        positionOfReplayed,
        recordAt,
        countedThrough: () => this.store.position,
        onStaged: () => undefined,
        onDurable: (delivery) => (this.options.onDurable ?? this.offer)(delivery),
        onFailure: (error) => this.failures.push(error),
        defer: (commit) => void setImmediate(commit),
        now: () => this.now,
        backlogBytesMax,
      },
      uncounted,
    );
  }

  /** Time passes, and expired data is deleted. */
  advance(milliseconds: number): void {
    this.store.age.note(this.store.position, 0);
    this.now += milliseconds;
    this.elapsedMs += milliseconds;
    this.store.expireKeys(this.store.age.positionAtAge(this.options.keepKeysMs), 1_000);
  }

  readonly offer = (delivery: LogDelivery) => this.processor.offer(delivery, 0);

  /** Everything that is not written by now is never written. */
  stop(): void {
    this.reader.close();
    this.log.close();
    this.store.close();
  }

  restart(): void {
    this.stop();
    this.start();
  }

  async drain(): Promise<void> {
    while ((await this.processor.step()) !== 'idle');
  }

  rows(): CounterRow[] {
    const sql = 'SELECT date, type, state, count FROM counters ORDER BY date, type_state';
    return this.database
      .prepare(sql)
      .all()
      .map((row) => ({ ...row })) as unknown as CounterRow[];
  }

  deadLetters(): Record<string, unknown>[] {
    return this.database.prepare('SELECT * FROM dead_letters ORDER BY position').all();
  }

  async put(batch: Batch): Promise<StoredBatch> {
    const result: Awaited<ReturnType<Intake['accept']>> = await this.intake.accept(batch);
    if (result.earlier !== undefined) throw new Error('the batch was known already');
    return result.stored;
  }

  /** Stores a record without the intake: it may be invalid, as a log may contain it. */
  putRecord(body: Uint8Array, accepted: number, encoding: 'identity' | 'gzip' = 'identity') {
    const draft = { body, encoding, accepted, rejected: 0, caller: '', idempotency: undefined };
    const staged = this.log.stage({ ...draft, receivedAt: this.now });
    this.log.commit();
    return { ...staged, batchId: formatBatchId(staged.batchId) };
  }

  close(): void {
    this.stop();
    rmSync(this.directory, { recursive: true });
  }

  #fileSystem(): FileSystem {
    return {
      ...nodeFileSystem,
      open: (path, mode) => {
        const file = nodeFileSystem.open(path, mode);
        return {
          ...file,
          write: (bytes, offset) => {
            if (this.fault === 'the disk is full') throw systemError('ENOSPC');
            if (this.fault !== 'the disk fills up') return file.write(bytes, offset);
            this.fault = 'the disk is full';
            return file.write(bytes.subarray(0, bytes.length / 2), offset);
          },
          sync: () => {
            if (this.fault === 'a sync fails') throw systemError('EIO');
            file.sync();
          },
        };
      },
    };
  }
}

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: simulated`), { code });
}

/** A second connection, as `sqlite3` or a backup would open one. */
function locked(path: string): () => void {
  const other = new DatabaseSync(path);
  other.exec('BEGIN IMMEDIATE');
  return () => other.close();
}

// --- The contracts

function now(act: () => void): Promise<void> {
  act();
  return Promise.resolve();
}

describeIntake(
  'the log with its counters',
  ['a sync fails', 'the disk is full', 'the disk fills up'],
  () => {
    const engine = new Engine();
    return Promise.resolve({
      get intake() {
        return engine.intake;
      },
      get rawStore() {
        return engine.rawStore;
      },
      keepKeysMs: engine.options.keepKeysMs,
      drain: () => engine.drain(),
      counters: () => Promise.resolve(engine.rows()),
      advance: (milliseconds) => engine.advance(milliseconds),
      restart: () => now(() => engine.restart()),
      failStorage: (fault) => void (engine.fault = fault),
      overload: async () => {
        const large = batchOf(Array.from({ length: 2000 }, (_, serial) => itemOf(serial)));
        while (engine.log.durableEnd - engine.store.position <= engine.options.backlogBytesMax) {
          await engine.put(large);
        }
      },
      close: () => now(() => engine.close()),
    });
  },
);

const obstructions: Record<string, { begin: string; end: string }> = {
  'an increment fails': {
    begin: `CREATE TRIGGER obstruction BEFORE INSERT ON counters WHEN new.type = 'obstructed'
            BEGIN SELECT RAISE(ABORT, 'obstructed'); END`,
    end: 'DROP TRIGGER obstruction',
  },
  'the update of the progress row fails': {
    begin: `CREATE TRIGGER obstruction BEFORE UPDATE ON progress
            BEGIN SELECT RAISE(ABORT, 'obstructed'); END`,
    end: 'DROP TRIGGER obstruction',
  },
  'another process has moved the progress row': {
    begin: 'UPDATE progress SET position = position + 1',
    end: 'UPDATE progress SET position = position - 1',
  },
};

describeCounterStore('SQLite', ['the database is locked', ...Object.keys(obstructions)], () => {
  const directory = mkdtempSync(join(tmpdir(), 'counter-store-'));
  const path = join(directory, 'pipeline.db');
  let database = openDatabase(path);
  let store = new SqliteCounterStore(database);
  let end = 0;
  const delivery = (increments: Increments): LogDelivery => {
    const from = end;
    end += 100;
    return { dedupKey: { from, to: end }, increments, keys: [], deadLetters: [] };
  };
  return Promise.resolve({
    get store() {
      return store;
    },
    deliveriesOf: (all: readonly Increments[]) => all.map(delivery),
    counters: () => {
      const sql = 'SELECT date, type, state, count FROM counters ORDER BY date, type_state';
      const rows = database.prepare(sql).all() as unknown as CounterRow[];
      return Promise.resolve(rows.map((row) => ({ ...row })));
    },
    obstruct: (fault: string) => {
      const obstruction = obstructions[fault];
      if (obstruction === undefined) return locked(path);
      const other = new DatabaseSync(path);
      other.exec(obstruction.begin);
      return () => {
        other.exec(obstruction.end);
        other.close();
      };
    },
    reopen: () => {
      store.close();
      database = openDatabase(path);
      store = new SqliteCounterStore(database);
      return Promise.resolve();
    },
    close: () => {
      store.close();
      rmSync(directory, { recursive: true });
      return Promise.resolve();
    },
  });
});

describeRawStore('the log', () => {
  const engine = new Engine();
  return Promise.resolve({
    rawStore: engine.rawStore,
    put: (batch, receivedAt) => {
      engine.now = receivedAt;
      return engine.put(batch);
    },
    close: () => now(() => engine.close()),
  });
});

describeReceipts('the log and the counted position', () => {
  const engine = new Engine();
  return Promise.resolve({
    receipts: engine.receipts,
    put: (batch) => engine.put(batch),
    drain: () => engine.drain(),
    close: () => now(() => engine.close()),
  });
});

// --- What is particular to these adapters

describe('the embedded adapters', () => {
  let engine: Engine;
  beforeEach(() => {
    engine = new Engine();
  });
  afterEach(() => engine.close());

  describe('LogIntake', () => {
    it('makes what arrives together durable by one sync, and acknowledges in the order of the log', async () => {
      const order: number[] = [];
      const batches = Array.from({ length: 20 }, (_, serial) => batchOf([itemOf(serial)]));
      const accepted = batches.map(async (batch, serial) => {
        await engine.put(batch);
        order.push(serial);
      });
      expect(engine.log.durableEnd).toBe(0);
      await Promise.all(accepted);
      expect(order).toEqual(Array.from({ length: 20 }, (_, serial) => serial));
    });

    it('reports once why the log accepts nothing more', async () => {
      engine.fault = 'a sync fails';
      const accepted = [0, 1, 2].map((serial) => engine.put(batchOf([itemOf(serial)])));
      await Promise.allSettled(accepted);
      await expect(engine.put(batchOf([itemOf(3)]))).rejects.toThrow('not acknowledged');
      expect(engine.failures).toEqual([expect.objectContaining({ code: 'EIO' })]);
    });

    it('hands over each durable batch, span after span, and none that is not', async () => {
      const delivered: LogDelivery[] = [];
      const other = new Engine({
        segmentBytes: 1024,
        onDurable: (delivery) => delivered.push(delivery),
      });
      try {
        for (let serial = 0; serial < 60; serial++) {
          await other.put(batchOf([itemOf(serial)], { key: `${serial}` }));
        }
        const ends = delivered.map(({ dedupKey: mark }) => mark.to);
        expect(delivered.map(({ dedupKey: mark }) => mark.from)).toEqual([0, ...ends.slice(0, -1)]);
        expect(ends.at(-1)).toBe(other.log.durableEnd);
        expect(delivered.map(({ keys }) => keys[0]?.key)).toEqual(
          Array.from({ length: 60 }, (_, serial) => `${serial}`),
        );
      } finally {
        other.close();
      }
    });

    it('hands over nothing that is not durable', async () => {
      const delivered: LogDelivery[] = [];
      const other = new Engine({ onDurable: (delivery) => delivered.push(delivery) });
      try {
        await other.put(batchOf([itemOf(0)]));
        other.fault = 'a sync fails';
        const failing = [1, 2].map((serial) => other.put(batchOf([itemOf(serial)])));
        await Promise.allSettled(failing);
        expect(delivered).toHaveLength(1);
      } finally {
        other.close();
      }
    });

    it('finds a key until the counters have it', async () => {
      const delivered: LogDelivery[] = [];
      const other = new Engine({ onDurable: (delivery) => delivered.push(delivery) });
      try {
        const batches = ['a', 'b', 'c'].map((key) => batchOf([itemOf(0)], { key }));
        const stored = await Promise.all(batches.map((batch) => other.put(batch)));
        for (const delivery of delivered) {
          for (const [index, key] of ['a', 'b', 'c'].entries()) {
            expect(await other.intake.recall('', key)).toMatchObject(stored[index] ?? {});
          }
          other.offer(delivery);
          await other.processor.step();
        }
        expect(await other.intake.recall('', 'c')).toMatchObject(stored[2] ?? {});
      } finally {
        other.close();
      }
    });
  });

  describe('receipts', () => {
    it('do not treat a frame that a client has copied into a body as a record', async () => {
      const { batchId } = await engine.put(batchOf([itemOf(0)]));
      const [first] = engine.reader.records();
      if (first === undefined) throw new Error('no record');
      const copied = Buffer.alloc(frameLength(first.record));
      encodeFrame(first.record, saltOfLog(engine.log.logId), copied, 0);
      const { position } = engine.putRecord(Buffer.concat([copied, copied]), 0);
      expect(await engine.receipts.find(batchId)).toBeDefined();
      const last = position + 64 + 2 * copied.length;
      for (let place = position + 1; place <= last; place++) {
        for (const random of [first.record.batchId.subarray(6), randomBytes(10)]) {
          const id = formatBatchId(batchIdAtPosition(place, random));
          expect(await engine.receipts.find(id)).toBeUndefined();
        }
      }
    });

    it('never say that a dead letter is counted', async () => {
      const { batchId } = engine.putRecord(Buffer.from('{"processed_devices":[]}'), 5);
      await engine.drain();
      expect(await engine.receipts.find(batchId)).toMatchObject({
        status: 'pending',
        enqueued: 5,
        counted: 0,
      });
    });
  });

  describe('SqliteCounterStore', () => {
    it('refuses a delivery of which a part is counted, and one before its turn', async () => {
      const delivery = (from: number, to: number): LogDelivery => {
        return { dedupKey: { from, to }, increments: new Map(), keys: [], deadLetters: [] };
      };
      await engine.store.apply([delivery(0, 100)]);
      await expect(engine.store.apply([delivery(50, 200)])).rejects.toThrow('partly counted');
      await expect(engine.store.apply([delivery(150, 200)])).rejects.toThrow('come later');
      expect(engine.store.position).toBe(100);
    });

    it('is not held up by a reader, whatever that has open', async () => {
      const reader = new DatabaseSync(engine.databasePath, { readOnly: true });
      reader.exec('BEGIN');
      reader.prepare('SELECT * FROM counters').all();
      await engine.put(batchOf([itemOf(0)]));
      await engine.drain();
      expect(engine.rows()).toHaveLength(1);
      expect(reader.prepare('SELECT * FROM counters').all()).toEqual([]);
      // What such a reader does hold up is the checkpoint, and with it retention.
      expect(engine.store.checkpoint()).toBeUndefined();
      reader.close();
      expect(engine.store.checkpoint()).toBe(engine.log.durableEnd);
    });

    it('forgets expired keys, the rest of them another time', async () => {
      const { age } = engine.store;
      for (const time of [0, 1, 2, 3]) {
        await engine.put(batchOf([itemOf(0)], { key: `${time}` }));
        await engine.drain();
        engine.elapsedMs++;
        age.note(engine.store.position, 0);
      }
      const old = age.positionAtAge(1);
      expect(engine.store.expireKeys(old, 2)).toBe(2);
      expect(engine.store.expireKeys(old, 2)).toBe(1);
      expect(engine.store.expireKeys(old, 2)).toBe(0);
      expect(engine.store.findKey('', '2')).toBeUndefined();
      expect(engine.store.findKey('', '3')).toBeDefined();
    });
  });

  describe('LogProcessor', () => {
    const idle = 'idle';

    async function expectCounted(...batches: readonly Batch[]): Promise<void> {
      expect(engine.rows()).toEqual(sortedRows(...batches.map(({ increments }) => increments)));
      expect(engine.rows()).toEqual(sortedRows(await recountAll(engine)));
    }

    it('has nothing to do on an empty log', async () => {
      expect(await engine.processor.step()).toBe(idle);
    });

    it('counts the offered records, and reads the others from the log', async () => {
      const batches = [batchOf([itemOf(0)]), batchOf([itemOf(1)], { gzip: true })] as const;
      await engine.put(batches[0]);
      expect(await engine.processor.step()).toBe(idle);
      await expectCounted(batches[0]);
      await engine.put(batches[1]);
      engine.restart();
      expect(await engine.processor.step()).toBe(idle);
      await expectCounted(...batches);
    });

    it('is busy while another process locks the database, and loses nothing', async () => {
      const [one, two, three] = [0, 1, 2].map((serial) => batchOf([itemOf(serial)]));
      await engine.put(one as Batch);
      const unlock = locked(engine.databasePath);
      expect(await engine.processor.step()).toBe('busy');
      await engine.put(two as Batch);
      expect(await engine.processor.step()).toBe('busy');
      engine.restart();
      await engine.put(three as Batch);
      expect(await engine.processor.step()).toBe('busy');
      expect(engine.rows()).toEqual([]);
      unlock();
      await engine.drain();
      await expectCounted(one as Batch, two as Batch, three as Batch);
    });

    it('counts a log that is long in several steps', async () => {
      const large = batchOf(Array.from({ length: 10_000 }, (_, serial) => itemOf(serial)));
      for (let round = 0; round < 4; round++) engine.putRecord(large.body, large.accepted);
      engine.restart();
      expect(await engine.processor.step()).toBe('behind');
      await engine.drain();
      await expectCounted(large, large, large, large);
    });

    it('counts more counters, or more keys, than it holds in memory', async () => {
      const wide = (from: number, key: string) =>
        batchOf(
          Array.from({ length: 26_000 }, (_, serial) => {
            return { ...itemOf(0), type: `type ${from + serial}` };
          }),
          { key },
        );
      const batches = [wide(0, 'a'), wide(20_000, 'b'), wide(40_000, 'c'), batchOf([itemOf(1)])];
      const many = new Engine({ backlogBytesMax: 64 * 1024 * 1024 });
      try {
        for (const batch of batches) await many.put(batch);
        await many.drain();
        expect(many.rows()).toEqual(sortedRows(...batches.map(({ increments }) => increments)));
        const keyed = Array.from({ length: 10_100 }, (_, index) =>
          batchOf([], { key: `${index}` }),
        );
        await Promise.all(keyed.map((batch) => many.put(batch)));
        await many.drain();
        expect(many.store.findKey('', '0')).toBeDefined();
        expect(many.store.findKey('', '10099')).toBeDefined();
        expect(many.rows()).toEqual(sortedRows(...batches.map(({ increments }) => increments)));
      } finally {
        many.close();
      }
    });

    it('counts once what two steps at the same time would count', async () => {
      const batches = [0, 1, 2].map((serial) => batchOf([itemOf(serial)]));
      await engine.put(batches[0] as Batch);
      await Promise.all([engine.processor.step(), engine.processor.step()]);
      const steps = [engine.processor.step(), engine.put(batches[1] as Batch)];
      await Promise.all([...steps, engine.processor.step(), engine.put(batches[2] as Batch)]);
      await engine.drain();
      await expectCounted(...batches);
    });

    it('accepts no delivery while it counts, and counts it from the log', async () => {
      const delivered: LogDelivery[] = [];
      const other = new Engine({ onDurable: (delivery) => delivered.push(delivery) });
      try {
        const batches = [0, 1].map((serial) => batchOf([itemOf(serial)]));
        for (const batch of batches) await other.put(batch);
        const [first, second] = delivered as [LogDelivery, LogDelivery];
        other.offer(first);
        const steps = [other.processor.step()];
        other.offer(second);
        steps.push(other.processor.step());
        await Promise.all(steps);
        await other.drain();
        expect(other.rows()).toEqual(sortedRows(...batches.map(({ increments }) => increments)));
      } finally {
        other.close();
      }
    });

    it('dead-letters, once and with the reason, what cannot be counted, and continues', async () => {
      const sound = batchOf([itemOf(0)]);
      const body = Buffer.from(sound.body);
      await engine.put(sound);
      const bad = [
        { ...engine.putRecord(body, 2), reason: /^recount_differs: .*1 accepted.*2 and 0/ },
        { ...engine.putRecord(body, 0), reason: /^recount_differs: / },
        { ...engine.putRecord(Buffer.from('{'), 1), reason: /^invalid_json: / },
        { ...engine.putRecord(Buffer.from('[]'), 1), reason: /^invalid_body: / },
        { ...engine.putRecord(body, 1, 'gzip'), reason: /^invalid_gzip: / },
      ];
      await engine.put(sound);
      engine.now += 1000;
      engine.restart();
      await engine.drain();

      const expectPutAside = () => {
        expect(engine.rows()).toEqual(sortedRows(sound.increments, sound.increments));
        expect(engine.store.deadLetters).toBe(bad.length);
        expect(engine.store.deadLetterReasons).toEqual([
          { reason: 'recount_differs', count: 2 },
          { reason: 'invalid_body', count: 1 },
          { reason: 'invalid_gzip', count: 1 },
          { reason: 'invalid_json', count: 1 },
        ]);
        expect(engine.deadLetters()).toEqual(
          bad.map(({ position, batchId, reason }) => ({
            position,
            batch_id: batchId,
            reason: expect.stringMatching(reason) as string,
            first_failed_at: engine.now,
            last_failed_at: engine.now,
            dropped_at: null,
            damaged_through: null,
          })),
        );
      };
      expectPutAside();
      engine.restart();
      await engine.drain();
      expectPutAside();
    });

    it('does not skip missing records of the log', async () => {
      await engine.put(batchOf([itemOf(0)]));
      engine.restart();
      const [first] = engine.reader.records();
      const file = nodeFileSystem.open(
        join(engine.logDirectory, '0000000000000000.log'),
        'read-write',
      );
      file.write(Buffer.alloc(8), (first?.end ?? 0) - 8);
      file.close();
      await expect(engine.processor.step()).rejects.toThrow(LogDamaged);
      expect(engine.store.position).toBe(0);
    });

    it('counts each record once, whatever comes between', async () => {
      const action = fc.oneof(
        {
          weight: 4,
          arbitrary: fc.record({
            kind: fc.constant('accept'),
            count: fc.integer({ min: 1, max: 4 }),
          }),
        },
        { weight: 3, arbitrary: fc.record({ kind: fc.constant('offer'), at: fc.nat() }) },
        { weight: 2, arbitrary: fc.constant({ kind: 'step' }) },
        {
          weight: 1,
          arbitrary: fc.constantFrom({ kind: 'busy' }, { kind: 'restart' }, { kind: 'two steps' }),
        },
      );
      await fc.assert(
        fc.asyncProperty(fc.array(action, { minLength: 5, maxLength: 40 }), (actions) =>
          interleave(actions),
        ),
        { numRuns: interleavings },
      );
    });
  });
});

async function recountAll({ rawStore }: Engine): Promise<Increments> {
  const sum: Increments = new Map();
  for (const raw of await listBodies(rawStore)) {
    const counted = recount(raw, dateOfTimestamp);
    if (counted.reason !== undefined) throw new Error(counted.reason);
    mergeIncrements(sum, counted.increments);
  }
  return sum;
}

type Action = { kind: string; count?: number; at?: number };

/** Deliveries are offered when the actions say so: soon, late, mixed up, twice or never. */
async function interleave(actions: readonly Action[]): Promise<void> {
  const delivered: LogDelivery[] = [];
  const engine = new Engine({ segmentBytes: 1024, onDurable: (each) => delivered.push(each) });
  const batches: Batch[] = [];
  try {
    for (const { kind, count = 0, at = 0 } of actions) {
      if (kind === 'accept') {
        const fresh = Array.from({ length: count }, (_, index) => {
          const serial = batches.length + index;
          return batchOf([itemOf(serial)], serial % 2 === 0 ? { key: `${serial}` } : {});
        });
        batches.push(...fresh);
        await Promise.all(fresh.map((batch) => engine.put(batch)));
      } else if (kind === 'offer') {
        // Usually the next record to be counted, as the intake would offer it.
        const chosen = delivered[at % (2 * delivered.length)];
        const next = delivered.find(({ dedupKey: mark }) => mark.from >= engine.store.position);
        const offered = chosen ?? next;
        if (offered !== undefined) engine.offer(structuredClone(offered));
      } else if (kind === 'busy') {
        const unlock = locked(engine.databasePath);
        const before = engine.rows();
        expect(['busy', 'idle']).toContain(await engine.processor.step());
        expect(engine.rows()).toEqual(before);
        unlock();
      } else if (kind === 'restart') {
        engine.restart();
      } else if (kind === 'two steps') {
        await Promise.all([engine.processor.step(), engine.processor.step()]);
      } else {
        await engine.processor.step();
      }
    }
    await engine.drain();
    expect(engine.rows()).toEqual(sortedRows(...batches.map(({ increments }) => increments)));
    expect(engine.rows()).toEqual(sortedRows(await recountAll(engine)));
    expect(engine.deadLetters()).toEqual([]);
    for (const { idempotency, caller } of batches) {
      if (idempotency === undefined) continue;
      const known = await engine.intake.recall(caller, idempotency.key);
      expect(Buffer.from(known?.bodySha256 ?? [])).toEqual(idempotency.bodySha256);
    }
  } finally {
    engine.close();
  }
}
