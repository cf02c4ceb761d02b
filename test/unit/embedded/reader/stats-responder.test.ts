import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { DatabaseSync } from 'node:sqlite';

import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import type { FromReader } from '../../../../src/engines/embedded/writer/messages.ts';
import { SqliteCounterStore } from '../../../../src/engines/embedded/store/counter-store.ts';
import { openDatabaseReadOnly } from '../../../../src/engines/embedded/store/read-only-database.ts';
import { openDatabase } from '../../../../src/engines/embedded/store/schema.ts';
import { StatsResponder } from '../../../../src/engines/embedded/reader/stats-responder.ts';
import type { StatsRequest } from '../../../../src/pipeline/stats/stats.ts';

const query = { from: '2023-06-16', to: '2023-06-16', types: [], states: [] };
const large = { query, groupBy: undefined, format: 'ndjson' } as const;
const small = { ...large, query: { ...query, types: ['type 1'] } } as const;

let path: string;
let isHeldUp: boolean;
let sent: string[];
let feeds: StatsResponder;

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout'],
  });
  path = join(mkdtempSync(join(tmpdir(), 'device-pipeline-')), 'pipeline.db');
  const database = openDatabase(path);
  const insert = database.prepare('INSERT INTO counters VALUES (?, ?, ?, ?, 1)');
  const state = 'x'.repeat(100);
  database.exec('BEGIN');
  for (let n = 0; n < 40_000; n++) insert.run(query.from, `type ${n}#${state}`, `type ${n}`, state);
  database.exec('COMMIT');
  database.close();
  [isHeldUp, sent] = [false, []];
  feeds = new StatsResponder({
    connect: () => openDatabaseReadOnly(path),
    dataVersion: () => 1,
    isJournalTooLarge: () => isHeldUp,
    send: ({ kind, ...message }: FromReader) =>
      void sent.push('id' in message ? `${kind} ${message.id}` : kind),
    onError: (id, error) => expect.fail(`${id}: ${String(error)}`),
  });
});

afterEach(() => {
  feeds.close();
  vi.useRealTimers();
  rmSync(join(path, '..'), { recursive: true });
});

const ask = (id: number, request: StatsRequest) => feeds.stats(id, { request, known: [] });

/** Until no query runs any more. */
async function settle(): Promise<void> {
  for (let before = -1; before !== sent.length;) {
    before = sent.length;
    for (let turn = 0; turn < 500; turn++) await setImmediate();
  }
}

const sentMessages = async () => {
  await settle();
  return sent.splice(0);
};
const begun = (id: number) => [`stream ${id}`, `piece ${id}`];

it('answers in pieces end, and none begins, while they hold up more than they may', async () => {
  ask(1, large);
  expect(await sentMessages()).toEqual(begun(1));
  ask(2, large);
  expect(await sentMessages()).toEqual(begun(2));
  vi.advanceTimersByTime(5_000);
  expect(await sentMessages()).toEqual([]);
  isHeldUp = true;
  vi.advanceTimersByTime(1_000);
  expect(await sentMessages()).toEqual(['busy 1', 'busy 2']);
  // No response holds an earlier state any more.
  const writer = new DatabaseSync(path);
  expect(writer.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.['busy']).toBe(0);
  writer.close();
  ask(3, large);
  ask(4, small);
  expect((await sentMessages()).sort()).toEqual(['busy 3', 'whole 4']);
  isHeldUp = false;
  ask(5, large);
  expect(await sentMessages()).toEqual(begun(5));
});

it('a large response waits for a place, in order, and not forever', async () => {
  for (let id = 1; id <= 25; id++) {
    ask(id, large);
    await settle();
  }
  expect(sent.splice(0)).toEqual([...[1, 2, 3, 4, 5, 6, 7, 8].flatMap(begun), 'busy 25']);
  feeds.cancel(3);
  expect(await sentMessages()).toEqual(begun(9));
  feeds.cancel(10);
  feeds.cancel(1);
  expect(await sentMessages()).toEqual(begun(11));
  // What is whole needs no place, though there is none.
  ask(30, small);
  expect(await sentMessages()).toEqual(['whole 30']);
  vi.advanceTimersByTime(10_000);
  expect(await sentMessages()).toEqual(
    [12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24].map((id) => `busy ${id}`),
  );
});

it('cancelled queries are not read, and hold nothing', async () => {
  for (let id = 1; id <= 20; id++) ask(id, large);
  for (let turn = 0; turn < 3; turn++) await setImmediate();
  for (let id = 1; id <= 20; id++) feeds.cancel(id);
  expect(await sentMessages()).toEqual([]);
  const writer = new DatabaseSync(path);
  writer.exec('UPDATE counters SET count = count + 1');
  expect(writer.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.['busy']).toBe(0);
  writer.close();
});

it('a question of a few days waits for none of many days', async () => {
  const year = { ...query, from: '2023-01-01', to: '2023-12-31' };
  const day = { ...query, from: '2023-06-15', to: '2023-06-15' };
  // The query reads every row and finds nothing, or sums all of them.
  for (let id = 1; id <= 9; id++) {
    ask(id, { ...large, query: { ...year, types: [`none ${id}`] } });
  }
  for (let id = 11; id <= 19; id++) {
    ask(id, { query: { ...year, states: [`${id}`] }, groupBy: ['type'], format: 'csv' });
  }
  ask(20, { ...large, query: day });
  const all = await sentMessages();
  expect(all[0]).toBe('whole 20');
  expect(all.filter((message) => message.startsWith('whole'))).toHaveLength(9 + 9 + 1);
});

it('a journal that has grown while a state was held is cut back, though nothing is counted', () => {
  const database = openDatabase(path);
  const store = new SqliteCounterStore(database);
  const reader = openDatabaseReadOnly(path);
  reader.exec('BEGIN');
  reader.prepare('SELECT count(*) FROM counters').get();
  const size = () => statSync(`${path}-wal`).size / 1024 / 1024;
  while (size() <= 256) database.exec('UPDATE counters SET count = count + 1');
  store.shrinkJournal();
  expect(size()).toBeGreaterThan(256);
  reader.exec('ROLLBACK');
  reader.close();
  store.shrinkJournal();
  expect(size()).toBe(0);
  store.close();
});
