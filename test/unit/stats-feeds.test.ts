import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import type { FromReader } from '../../src/engines/embedded/messages.ts';
import { SqliteCounterStore } from '../../src/engines/embedded/sqlite-counter-store.ts';
import { openDatabase, openDatabaseReadOnly } from '../../src/engines/embedded/sqlite-schema.ts';
import { StatsFeeds } from '../../src/engines/embedded/stats-feeds.ts';

const query = { from: '2023-06-16', to: '2023-06-16', types: [], states: [] };
const large = { query, groupBy: undefined, format: 'ndjson' } as const;
const small = { ...large, query: { ...query, types: ['type 1'] } } as const;

let path: string;
let isHeldUp: boolean;
let sent: string[];
let feeds: StatsFeeds;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  path = join(mkdtempSync(join(tmpdir(), 'device-pipeline-')), 'pipeline.db');
  const database = openDatabase(path);
  const insert = database.prepare('INSERT INTO counters VALUES (?, ?, ?, ?, 1)');
  const state = 'x'.repeat(100);
  database.exec('BEGIN');
  for (let n = 0; n < 40_000; n++) insert.run(query.from, `type ${n}#${state}`, `type ${n}`, state);
  database.exec('COMMIT');
  database.close();
  [isHeldUp, sent] = [false, []];
  feeds = new StatsFeeds({
    connect: () => openDatabaseReadOnly(path),
    dataVersion: () => 1,
    isHeldUp: () => isHeldUp,
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

it('answers in pieces end, and none begins, while they hold up more than they may', () => {
  feeds.stats(1, large, []);
  feeds.stats(2, large, []);
  expect(sent).toEqual(['stream 1', 'piece 1', 'stream 2', 'piece 2']);
  vi.advanceTimersByTime(5_000);
  expect(sent).toHaveLength(4);
  isHeldUp = true;
  vi.advanceTimersByTime(1_000);
  expect(sent.slice(4)).toEqual(['busy 1', 'busy 2']);
  // Nobody holds an earlier state any more.
  const writer = new DatabaseSync(path);
  expect(writer.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get()?.['busy']).toBe(0);
  writer.close();
  feeds.stats(3, large, []);
  feeds.stats(4, small, []);
  expect(sent.slice(6)).toEqual(['busy 3', 'whole 4']);
  isHeldUp = false;
  feeds.stats(5, large, []);
  expect(sent.slice(8)).toEqual(['stream 5', 'piece 5']);
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
