import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { describe, expect, it } from 'vitest';

import { readDeadLetters, readLedger } from '../../src/engines/embedded/ledger.ts';
import { SqliteCounterStore } from '../../src/engines/embedded/sqlite-counter-store.ts';
import { openDatabase } from '../../src/engines/embedded/sqlite-schema.ts';
import {
  auditOf,
  change,
  newDataDirectory,
  numberedBatches,
  rebuild,
  store,
} from '../support/embedded-store.ts';

/** The tables as the first version made them. */
const schema1 = `
  CREATE TABLE counters (
    date TEXT NOT NULL, type_state TEXT NOT NULL, type TEXT NOT NULL, state TEXT NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY (date, type_state)) STRICT, WITHOUT ROWID;
  CREATE TABLE idempotency_keys (
    caller TEXT NOT NULL, key TEXT NOT NULL, body_sha256 BLOB NOT NULL, batch_id TEXT NOT NULL,
    received_at INTEGER NOT NULL, PRIMARY KEY (caller, key)) STRICT, WITHOUT ROWID;
  CREATE INDEX idempotency_keys_by_age ON idempotency_keys (received_at);
  CREATE TABLE dead_letters (
    position INTEGER PRIMARY KEY, batch_id TEXT NOT NULL, reason TEXT NOT NULL,
    failed_at INTEGER NOT NULL) STRICT;
  CREATE TABLE progress (
    one INTEGER PRIMARY KEY CHECK (one = 1), log_id BLOB, position INTEGER NOT NULL) STRICT;
  INSERT INTO progress VALUES (1, NULL, 0);
  PRAGMA user_version = 1;
`;

describe('a database of the first version', () => {
  it('is brought up to date with all that is in it', () => {
    const path = join(newDataDirectory(), 'pipeline.db');
    const old = new DatabaseSync(path);
    old.exec(schema1);
    old.exec(`INSERT INTO counters VALUES ('2026-03-01', 'a#b', 'a', 'b', 3);
      INSERT INTO dead_letters VALUES (64, 'an id', 'a reason', 5);
      UPDATE progress SET position = 128, log_id = x'01'`);
    old.close();
    openDatabase(path).close();
    const database = openDatabase(path);
    expect(readLedger(database)).toEqual({
      logId: Uint8Array.of(1),
      position: 128,
      keysExpiredBefore: 0,
      removedThrough: 0,
    });
    expect(readDeadLetters(database)).toEqual([
      {
        position: 64,
        batchId: 'an id',
        reason: 'a reason',
        firstFailedAt: 5,
        lastFailedAt: 5,
        droppedAt: undefined,
        damagedThrough: undefined,
      },
    ]);
    const counters = new SqliteCounterStore(database);
    expect(counters.expireKeys(10, 10)).toBe(0);
    counters.noteRemoved(new Map(), 64);
    counters.close();
  });
});

describe('a database of the second version', () => {
  it('knows then where the batches of its keys stand', async () => {
    const dataDir = newDataDirectory();
    await store(dataDir, numberedBatches(6));
    change(
      dataDir,
      `ALTER TABLE idempotency_keys DROP COLUMN position; DROP TABLE replayed_batches;
       CREATE TABLE rebuild (log_id BLOB NOT NULL, position INTEGER NOT NULL) STRICT;
       CREATE TABLE counters_next (one INTEGER); PRAGMA user_version = 2`,
    );
    openDatabase(join(dataDir, 'pipeline.db')).close();
    expect(await auditOf(dataDir)).toEqual([]);
    expect(rebuild(dataDir)).toMatchObject({ isSwitched: true, differences: [] });
    expect(await auditOf(dataDir)).toEqual([]);
  });
});

it('remembers up to when keys have expired, so that those are not missed', async () => {
  const dataDir = newDataDirectory();
  await store(dataDir, numberedBatches(6));
  const counters = new SqliteCounterStore(openDatabase(join(dataDir, 'pipeline.db')));
  const afterAll = Date.now() + 1;
  expect(counters.expireKeys(afterAll, 10)).toBe(2);
  expect(counters.expireKeys(afterAll - 1000, 10)).toBe(0);
  counters.close();
  expect(await auditOf(dataDir)).toEqual([]);
  change(dataDir, 'UPDATE progress SET keys_expired_before = 0');
  expect(await auditOf(dataDir)).toHaveLength(2);
});
