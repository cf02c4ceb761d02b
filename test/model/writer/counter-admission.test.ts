import { cpSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import { formatBatchId, rawKeyOf } from '../../../src/domain/batch-id.ts';
import { asWritten } from '../../../src/domain/day.ts';
import { CounterAdmission } from '../../../src/engines/embedded/writer/counter-admission.ts';
import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { redriveDeadLetters } from '../../../src/engines/embedded/store/dead-letters.ts';
import type { LogRecord } from '../../../src/engines/embedded/log/frame.ts';
import { openDatabaseReadOnly } from '../../../src/engines/embedded/store/read-only-database.ts';
import type { Writer } from '../../../src/engines/embedded/writer/writer.ts';
import { Unavailable, type IngestOutcome, type Submission } from '../../../src/pipeline/ports.ts';
import {
  auditOf,
  change,
  newDataDirectory,
  openWriter,
  rebuild,
  store,
  type Item,
} from '../../support/embedded-store.ts';
import { seededRandom } from '../../support/processes/server-process.ts';

/*
 * Compares the embedded engine with the simplest model of the limit, a set of names for each day:
 * the scanner and the slow path accept and reject every item as the model does, counted or not,
 * before and after crashes.
 */

const countersPerDayMax = 12;
const dates = ['2023-06-16', '2023-06-17', '2023-06-18'];

/** The counters of each day. */
class Model {
  readonly #days = new Map<string, Set<string>>(dates.map((date) => [date, new Set()]));

  /**
   * The indexes of the rejected items. The others are accepted if `isTaken` says so of the batch.
   */
  excluded(items: readonly Item[], isTaken: (excluded: readonly number[]) => boolean): number[] {
    const days = new Map([...this.#days].map(([date, names]) => [date, new Set(names)]));
    const excluded = [...items.entries()].flatMap(([index, { type, state, timestamp }]) => {
      const names = days.get(timestamp.slice(0, 10)) ?? new Set();
      const name = JSON.stringify([type, state]);
      if (!names.has(name) && names.size >= countersPerDayMax) return [index];
      names.add(name);
      return [];
    });
    if (isTaken(excluded)) for (const [date, names] of days) this.#days.set(date, names);
    return excluded;
  }

  get size(): number {
    return [...this.#days.values()].reduce((sum, { size }) => sum + size, 0);
  }
}

interface TestBatch {
  readonly items: readonly Item[];
  readonly body: Buffer;
  readonly submission: Submission;
}

function randomBatch(random: () => number, serial: number): TestBatch {
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)] as T;
  const names = random() < 0.7 ? ['a', 'b', 'c', 'd'] : ['a', 'b', 'ä', 'x#y', `new ${serial}`];
  const items = Array.from({ length: 1 + Math.floor(random() * 9) }, () => ({
    type: pick(names),
    state: pick(['on', 'off', `rare ${Math.floor(random() * 8)}`]),
    timestamp: `${pick(dates)}T13:00:00Z`,
  }));
  const body = Buffer.from(JSON.stringify({ processed_devices: items }));
  const isCompressed = random() < 0.15;
  const submission: Submission = {
    body: isCompressed ? gzipSync(body) : body,
    encoding: isCompressed ? 'gzip' : 'identity',
    strict: random() < 0.15,
    caller: '',
    idempotencyKey: random() < 0.3 ? `key-${serial}` : undefined,
  };
  return { items, body, submission };
}

/** As the writer does: with the scanner if it can handle the body. */
async function send(writer: Writer, { body, submission }: TestBatch): Promise<IngestOutcome> {
  const { encoding, strict, idempotencyKey } = submission;
  const isPlain = encoding === 'identity' && !strict && idempotencyKey === undefined;
  const verdict = isPlain ? writer.stagePlain(body, 0, body.length, '') : undefined;
  if (verdict === undefined) return writer.ingest(submission);
  expect(writer.commit()).toBe(true);
  const batchId = formatBatchId(verdict.batchId);
  const rawKey = rawKeyOf(batchId, verdict.receivedAt);
  return { accepted: true, batchId, rawKey, enqueued: verdict.enqueued, rejected: 0, errors: [] };
}

function check(outcome: IngestOutcome, batch: TestBatch, excluded: readonly number[]): void {
  const { length } = batch.items;
  if (excluded.length === length || (batch.submission.strict && excluded.length > 0)) {
    if (outcome.accepted) expect.fail('the batch was accepted');
    const code = excluded.length === length ? 'no_valid_items' : 'invalid_items';
    expect(outcome.problem).toMatchObject({ code, rejected: excluded.length });
    expect(outcome.problem.errors?.map(({ index }) => index)).toEqual(excluded);
    return;
  }
  if (!outcome.accepted) expect.fail(outcome.problem.detail);
  expect(outcome.errors.map(({ index }) => index)).toEqual(excluded);
  expect(outcome.errors.every(({ code }) => code === 'too_many_counters')).toBe(true);
  expect(outcome).toMatchObject({ enqueued: length - excluded.length, rejected: excluded.length });
}

const aMoment = () => new Promise((resolve) => setTimeout(resolve, 2));

async function runLives(seed: number): Promise<void> {
  const random = seededRandom(seed);
  const model = new Model();
  let dataDir = newDataDirectory();
  const answered: { batch: TestBatch; outcome: IngestOutcome }[] = [];
  let serial = 0;
  for (let life = 0; life < 4; life++) {
    // In some lives nothing is counted, so that the next life has to count it.
    const countDelayMs = random() < 0.5 ? 1_000_000 : 0;
    const writer = openWriter(dataDir, { countersPerDayMax, countDelayMs });
    for (let number = 0; number < 12; number++) {
      const batch = randomBatch(random, serial++);
      const { strict } = batch.submission;
      const excluded = model.excluded(
        batch.items,
        ({ length }) => length < batch.items.length && !(strict && length > 0),
      );
      const outcome = await send(writer, batch);
      check(outcome, batch, excluded);
      if (outcome.accepted && batch.submission.idempotencyKey !== undefined) {
        answered.push({ batch, outcome });
      }
      const earlier = answered[Math.floor(random() * answered.length)];
      if (earlier !== undefined && random() < 0.4) {
        expect(await writer.ingest(earlier.batch.submission)).toEqual(earlier.outcome);
      }
      if (random() < 0.3) await aMoment();
    }
    // A crash: the next life has what is on the disk now.
    const next = newDataDirectory();
    cpSync(dataDir, next, { recursive: true });
    await writer.close();
    dataDir = next;
  }
  await openWriter(dataDir, { countersPerDayMax, countDelayMs: 0 }).close();
  expect(await auditOf(dataDir)).toEqual([]);
  expect(rebuild(dataDir).differences).toEqual([]);
  expect(countersIn(dataDir)).toBe(model.size);
}

function countersIn(dataDir: string): number {
  const database = openDatabaseReadOnly(dataPaths(dataDir).database);
  const row = database.prepare('SELECT count(*) AS count FROM counters').get();
  database.close();
  return Number(row?.['count']);
}

/** The codes of the errors that the response has for one item. */
async function sendOne(writer: Writer, type: string): Promise<string[]> {
  const timestamp = '2023-06-16T13:00:00Z';
  const body = Buffer.from(
    JSON.stringify({ processed_devices: [{ type, state: 'on', timestamp }] }),
  );
  const submission: Submission = {
    ...{ body, encoding: 'identity' },
    strict: false,
    caller: '',
    idempotencyKey: undefined,
  };
  const outcome = await send(writer, { items: [], body, submission });
  return outcome.accepted ? [] : (outcome.problem.errors ?? []).map(({ code }) => code);
}

describe('the limit of counters of a day', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('holds as in the model (seed %i)', runLives);

  it('takes corrections of a concurrent rebuild into account', async () => {
    const dataDir = newDataDirectory();
    await openWriter(dataDir).close();
    change(dataDir, "INSERT INTO counters VALUES ('2023-06-16', 'x#on', 'x', 'on', 1)");
    const writer = openWriter(dataDir, { countersPerDayMax: 2, countDelayMs: 0 });
    expect(await sendOne(writer, 'a')).toEqual([]);
    expect(await sendOne(writer, 'b')).toEqual(['too_many_counters']);
    await aMoment();
    expect(rebuild(dataDir).differences).toMatchObject([{ code: 'counter_unexplained' }]);
    expect(await sendOne(writer, 'b')).toEqual([]);
    expect(await sendOne(writer, 'x')).toEqual(['too_many_counters']);
    await writer.close();
    expect(await auditOf(dataDir)).toEqual([]);
  });

  it('takes counters of a concurrent redrive into account', async () => {
    const dataDir = newDataDirectory();
    const timestamp = '2023-06-16T13:00:00Z';
    await store(dataDir, [{ items: [{ type: 'dead', state: 'on', timestamp }] }]);
    change(
      dataDir,
      `DELETE FROM counters; INSERT INTO dead_letters VALUES (64, '', 'invalid', 0, 0, NULL, NULL)`,
    );
    const writer = openWriter(dataDir, { countersPerDayMax: 2, countDelayMs: 0 });
    expect(await sendOne(writer, 'a')).toEqual([]);
    expect(redriveDeadLetters(dataDir, () => true, 0)).toMatchObject({ counted: 1 });
    expect(await sendOne(writer, 'b')).toEqual(['too_many_counters']);
    expect(await sendOne(writer, 'dead')).toEqual([]);
    await writer.close();
    expect(await auditOf(dataDir)).toEqual([]);
  });
});

describe('counters that wait to be counted', () => {
  const counter = (type: string) => ({ counter: { date: '2023-06-16', type, state: 'on' } });
  const recordOf = (type: string): LogRecord => ({
    ...{ position: 0, syncedThrough: 0, batchId: new Uint8Array(16), receivedAt: 0 },
    ...{ accepted: 1, rejected: 0, encoding: 'identity', caller: '', idempotency: undefined },
    body: Buffer.from(
      JSON.stringify({
        processed_devices: [{ type, state: 'on', timestamp: '2023-06-16T13:00:00Z' }],
      }),
    ),
  });

  function world(countersPerDayMax: number) {
    const state = { position: 0, now: 0, rows: new Set<string>() };
    const admission = new CounterAdmission({
      store: {
        get position() {
          return state.position;
        },
        pollChange: () => 'none',
        withoutRow: (entries) => entries.filter((each) => !state.rows.has(each.counter.type)),
        countersOn: () => state.rows.size,
      },
      countersPerDayMax,
      dayZone: asWritten,
      onForget: () => undefined,
      now: () => state.now,
    });
    return { state, admission };
  }

  it('delay further batches after a start with too much to read, until they are counted', () => {
    const { state, admission } = world(3);
    admission.addUncounted({ record: recordOf('read'), end: 100 });
    state.now = 10_000;
    admission.addUncounted({ record: recordOf('not read'), end: 200 });
    admission.finishUncounted();
    expect(admission.newCounters([counter('read')])).toEqual([]);
    expect(() => admission.newCounters([counter('other')])).toThrow(Unavailable);
    state.position = 100;
    state.rows.add('read');
    expect(() => admission.newCounters([counter('other')])).toThrow(Unavailable);
    state.position = 200;
    state.rows.add('not read');
    const newCounters = admission.newCounters([counter('other'), counter('not read')]);
    expect(newCounters).toEqual([counter('other')]);
    expect(admission.hasRoomFor(newCounters)).toBe(true);
    expect(admission.hasRoomFor([...newCounters, counter('more')])).toBe(false);
  });

  it('are limited in number, except those of one batch', () => {
    const { state, admission } = world(10_000_000);
    const many = Array.from({ length: 250_000 }, (_, at) => counter(`type ${at}`));
    const newCounters = admission.newCounters(many);
    expect(newCounters).toHaveLength(many.length);
    admission.addPending(newCounters, 100);
    expect(admission.newCounters(many)).toEqual([]);
    expect(() => admission.newCounters([counter('other')])).toThrow(Unavailable);
    state.position = 100;
    expect(admission.newCounters([counter('other')])).toHaveLength(1);
  });

  it('can be of any number of days, each with its own limit', () => {
    const { admission } = world(1);
    const days = Array.from({ length: 5_000 }, (_, at) => ({
      counter: { ...counter('a').counter, date: `${2000 + at}-01-01` },
    }));
    for (const [at, day] of days.entries()) {
      expect(admission.hasRoomFor([day])).toBe(true);
      admission.addPending([day], at);
    }
    // The first days were evicted; the waiting batches contain their counters.
    const others = days.map(({ counter: { date } }) => ({
      counter: { ...counter('b').counter, date },
    }));
    expect(others.filter((other) => admission.hasRoomFor([other])).length).toBe(1);
  });
});
