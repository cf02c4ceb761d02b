import { cpSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it, vi } from 'vitest';

import { dayRule } from '../../../src/domain/day.ts';
import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { redriveDeadLetters } from '../../../src/engines/embedded/store/dead-letters.ts';
import type { EmbeddedOptions } from '../../../src/engines/embedded/options.ts';
import { dayZoneOf } from '../../../src/engines/embedded/store/raw-batches.ts';
import type { Writer } from '../../../src/engines/embedded/writer/writer.ts';
import { openStatsReader } from '../../../src/engines/embedded/reader/stats-reader.ts';
import {
  auditOf,
  change,
  codesOf,
  newDataDirectory,
  openWriter,
  rebuild,
  store,
} from '../../support/embedded-store.ts';

const rules = ['as-written', 'UTC', 'Europe/Berlin', 'Pacific/Auckland'];

/** The first are of the form that the scanner takes. */
const timestamps = [
  '2026-06-16T13:00:00Z',
  '2026-06-16T22:30:00Z',
  '2026-03-29T00:59:59.5Z',
  '2026-06-16T11:59:59Z',
  '1970-06-16T23:30:00Z',
  '2026-06-17T09:00:00+13:00',
  '2026-06-16T23:30:00-05:00',
  '2016-12-31T23:59:60Z',
  '2017-01-01T12:59:60+13:00',
  '9999-12-31T23:30:00+14:00',
];

const itemOf = (timestamp: string, type = 'laptop') => ({ type, state: 'erased', timestamp });
const bodyOf = (items: readonly object[]) =>
  Buffer.from(JSON.stringify({ processed_devices: items }));

/** Sends each item alone, twice: without a key, for the scanner, and with a key. */
async function fill(dataDir: string, options: Partial<EmbeddedOptions>): Promise<void> {
  const writer = openWriter(dataDir, { countDelayMs: 0, segmentBytes: 2048, ...options });
  for (const timestamp of timestamps) {
    const body = bodyOf([itemOf(timestamp)]);
    const submission = { body, encoding: 'identity', strict: false, caller: '' } as const;
    if (writer.stagePlain(body, 0, body.length, '') === undefined) {
      const outcome = await writer.ingest({ ...submission, idempotencyKey: undefined });
      expect(outcome).toMatchObject({ accepted: true, enqueued: 1 });
    }
    writer.commit();
    const keyed = { ...submission, idempotencyKey: timestamp };
    const outcome = await writer.ingest(keyed);
    expect(await writer.ingest(keyed)).toEqual(outcome);
  }
  await writer.close();
}

function daysOf(dataDir: string): Record<string, number> {
  const reader = openStatsReader(dataDir);
  const range = { from: '0001-01-01', to: '9999-12-31' };
  const rows = [...reader.query({ ...range, types: [], states: [] })].flat();
  reader.close();
  return Object.fromEntries(rows.map(({ date, count }) => [date, count]));
}

function expectedDays(rule: string, each = 2): Record<string, number> {
  const days: Record<string, number> = {};
  for (const timestamp of timestamps) {
    const day = dayRule(rule)(timestamp) ?? '';
    days[day] = (days[day] ?? 0) + each;
  }
  return days;
}

function removeDatabase(dataDir: string): void {
  for (const suffix of ['', '-wal', '-shm']) {
    rmSync(dataPaths(dataDir).database + suffix, { force: true });
  }
}

describe.each(rules)('a store with the rule %s', (rule) => {
  it('counts by it on every path, and again from its log alone', async () => {
    const dataDir = newDataDirectory();
    await fill(dataDir, { dayZone: rule });
    expect(daysOf(dataDir)).toEqual(expectedDays(rule));
    expect(readdirSync(dataPaths(dataDir).log).length).toBeGreaterThan(1);
    expect(dayZoneOf(dataDir)).toBe(rule);
    expect(await auditOf(dataDir)).toEqual([]);
    expect(rebuild(dataDir).differences).toEqual([]);

    // A copy of the log is all that is left of it.
    const copy = newDataDirectory();
    cpSync(dataPaths(dataDir).log, dataPaths(copy).log, { recursive: true });
    const writer = openWriter(copy);
    expect(writer.dayZone).toBe(rule);
    await writer.close();
    expect(daysOf(copy)).toEqual(expectedDays(rule));
    expect(await auditOf(copy)).toEqual([]);
  });

  it('keeps it without the option, and over the removal of old segments', async () => {
    const dataDir = newDataDirectory();
    await fill(dataDir, { dayZone: rule });
    await fill(dataDir, {});
    const writer = openWriter(dataDir, { keepRawMs: 0 });
    const segments = () => readdirSync(dataPaths(dataDir).log);
    await vi.waitUntil(() => !segments().includes('0000000000000000.log'), { timeout: 500_000 });
    await writer.close();
    // The second time the keys were known: what had one is counted once.
    expect(daysOf(dataDir)).toEqual(expectedDays(rule, 3));
    expect(await auditOf(dataDir)).toEqual([]);
    expect(dayZoneOf(dataDir)).toBe(rule);
  });

  it('counts what the database has not counted yet', async () => {
    const dataDir = newDataDirectory();
    const crashed = newDataDirectory();
    const writer = openWriter(dataDir, { dayZone: rule, countDelayMs: 1_000_000 });
    for (const timestamp of timestamps) {
      await writer.ingest({
        ...{ body: bodyOf([itemOf(timestamp)]), encoding: 'identity', strict: false, caller: '' },
        idempotencyKey: undefined,
      });
    }
    cpSync(dataDir, crashed, { recursive: true });
    await writer.close();
    await openWriter(crashed).close();
    expect(daysOf(crashed)).toEqual(expectedDays(rule, 1));
  });
});

describe('a day rule', () => {
  const timestamp = '2026-06-16T23:30:00-05:00';

  it('refuses an item whose day leaves the calendar as a timestamp that is none', async () => {
    const last = '9999-12-31T23:30:00Z';
    for (const [dayZone, isTaken] of [
      ['as-written', true],
      ['UTC', true],
      ['Pacific/Auckland', false],
    ] as const) {
      const writer = openWriter(newDataDirectory(), { dayZone });
      const body = bodyOf([itemOf(last), itemOf(timestamp)]);
      const submission = { body, encoding: 'identity', strict: false, caller: '' } as const;
      const outcome = await writer.ingest({ ...submission, idempotencyKey: undefined });
      await writer.close();
      const errors = [{ index: 0, field: 'timestamp', code: 'not_rfc3339' }];
      expect(outcome).toMatchObject({ enqueued: isTaken ? 2 : 1, errors: isTaken ? [] : errors });
    }
  });

  it('is fixed when the store is created', async () => {
    const dataDir = newDataDirectory();
    await store(dataDir, [{ items: [itemOf(timestamp)] }], { dayZone: 'UTC' });
    const refusal = `The store in ${dataDir} uses the day rule UTC, but --day-zone is as-written.`;
    expect(() => openWriter(dataDir, { dayZone: 'as-written' })).toThrow(refusal);
    removeDatabase(dataDir);
    expect(() => openWriter(dataDir, { dayZone: 'Europe/Berlin' })).toThrow('the day rule UTC');
    await openWriter(dataDir, { dayZone: 'UTC' }).close();
    await openWriter(dataDir, { dayZone: 'utc' }).close();
    expect(daysOf(dataDir)).toEqual({ '2026-06-17': 1 });
  });

  it('is fixed before the first batch, too', async () => {
    const dataDir = newDataDirectory();
    await openWriter(dataDir, { dayZone: 'Europe/Berlin' }).close();
    expect(() => openWriter(dataDir, { dayZone: 'UTC' })).toThrow('the day rule Europe/Berlin');
    const writer = openWriter(dataDir);
    expect(writer.dayZone).toBe('Europe/Berlin');
    await writer.close();
  });

  it('bounds the counters of its own days', async () => {
    const dataDir = newDataDirectory();
    const writer = openWriter(dataDir, { dayZone: 'UTC', countersPerDayMax: 1 });
    const body = bodyOf([
      itemOf('2026-06-17T00:30:00Z'),
      // Written on a day that has no counter yet.
      itemOf('2026-06-16T23:30:00-05:00', 'phone'),
    ]);
    const submission = { body, encoding: 'identity', strict: false, caller: '' } as const;
    const outcome = await writer.ingest({ ...submission, idempotencyKey: undefined });
    await writer.close();
    expect(outcome).toMatchObject({
      enqueued: 1,
      errors: [{ index: 1, code: 'too_many_counters' }],
    });
    expect(daysOf(dataDir)).toEqual({ '2026-06-17': 1 });
    expect(await auditOf(dataDir)).toEqual([]);
  });

  it('bounds them with what a start finds uncounted, too', async () => {
    const dataDir = newDataDirectory();
    const crashed = newDataDirectory();
    const submit = async (writer: Writer, item: object) => {
      const body = bodyOf([item]);
      const submission = { body, encoding: 'identity', strict: false, caller: '' } as const;
      return await writer.ingest({ ...submission, idempotencyKey: undefined });
    };
    const options = { countersPerDayMax: 1, countDelayMs: 1_000_000 };
    const writer = openWriter(dataDir, { ...options, dayZone: 'UTC' });
    expect(await submit(writer, itemOf('2026-06-16T23:30:00-05:00'))).toMatchObject({
      enqueued: 1,
    });
    cpSync(dataDir, crashed, { recursive: true });
    await writer.close();
    const next = openWriter(crashed, options);
    const outcome = await submit(next, itemOf('2026-06-17T12:00:00Z', 'phone'));
    await next.close();
    expect(outcome).toMatchObject({ accepted: false, problem: { code: 'no_valid_items' } });
  });

  it('is that of an audit on several threads', async () => {
    const dataDir = newDataDirectory();
    await fill(dataDir, { dayZone: 'UTC' });
    expect(await auditOf(dataDir, { threads: 2 })).toEqual([]);
  });

  it('is that of a redrive, and of what an audit says explains a difference', async () => {
    const dataDir = newDataDirectory();
    const items = [itemOf(timestamp)];
    const [rawKey] = await store(dataDir, [{ items, key: 'a' }], { dayZone: 'UTC' });
    change(dataDir, 'DELETE FROM counters');
    const differences = await auditOf(dataDir);
    expect(codesOf(differences)).toEqual(['counter_missing']);
    expect(differences).toMatchObject([{ explainedBy: [rawKey] }]);
    change(
      dataDir,
      `INSERT INTO dead_letters SELECT position, batch_id, 'once', 1, 2, NULL, NULL FROM idempotency_keys`,
    );
    expect(redriveDeadLetters(dataDir, () => true, 5)).toMatchObject({ counted: 1 });
    expect(daysOf(dataDir)).toEqual({ '2026-06-17': 1 });
  });
});

it('a log without a rule in its headers is of the day that is written', async () => {
  const dataDir = newDataDirectory();
  await store(dataDir, [{ items: [itemOf('2026-06-16T23:30:00-05:00')] }]);
  const [first = ''] = readdirSync(dataPaths(dataDir).log);
  // As every version before has written it: version 1, and nothing behind the times.
  const header = readFileSync(join(dataPaths(dataDir).log, first)).subarray(0, 64);
  expect(header.readUInt32LE(12)).toBe(1);
  expect(header.subarray(48)).toEqual(Buffer.alloc(16));
  await openWriter(dataDir, { dayZone: 'as-written' }).close();
  expect(daysOf(dataDir)).toEqual({ '2026-06-16': 1 });
});
