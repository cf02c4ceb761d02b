import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { describe, expect, it } from 'vitest';

import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import { dayMs } from '../../../../src/engines/embedded/options.ts';
import { nodeFileSystem } from '../../../../src/engines/embedded/log/file-system.ts';
import {
  readDeadLetters,
  readProgressRow,
} from '../../../../src/engines/embedded/store/progress-row.ts';
import {
  headerOf,
  listSegments,
  readLogIdentity,
} from '../../../../src/engines/embedded/log/segment.ts';
import { SqliteCounterStore } from '../../../../src/engines/embedded/store/counter-store.ts';
import { openDatabase } from '../../../../src/engines/embedded/store/schema.ts';
import {
  auditOf,
  change,
  newDataDirectory,
  numberedBatches,
  rebuild,
  store,
} from '../../../support/embedded-store.ts';

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
    expect(readProgressRow(database)).toEqual({
      logId: Uint8Array.of(1),
      position: 128,
      keysExpiredThrough: 0,
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
    counters.recordRemoved(new Map(), 64);
    counters.close();
  });
});

describe('a database of the second version', () => {
  it('has then the positions of the batches of its keys', async () => {
    const dataDir = newDataDirectory();
    await store(dataDir, numberedBatches(6));
    change(
      dataDir,
      `${toVersion3}
       ALTER TABLE idempotency_keys DROP COLUMN position; DROP TABLE replayed_batches;
       CREATE TABLE rebuild (log_id BLOB NOT NULL, position INTEGER NOT NULL) STRICT;
       CREATE TABLE counters_next (one INTEGER); PRAGMA user_version = 2`,
    );
    openDatabase(join(dataDir, 'pipeline.db')).close();
    expect(await auditOf(dataDir)).toEqual([]);
    expect(rebuild(dataDir)).toMatchObject({ isSwitched: true, differences: [] });
    expect(await auditOf(dataDir)).toEqual([]);
  });
});

/** As the third version was. */
const toVersion3 = `
  DROP TABLE log_ages; DROP INDEX idempotency_keys_by_position;
  ALTER TABLE progress DROP COLUMN keys_expired_through; ALTER TABLE progress DROP COLUMN run_ms;
  CREATE INDEX idempotency_keys_by_age ON idempotency_keys (received_at);`;

describe('a database of the third version', () => {
  const toThird = (dataDir: string) => change(dataDir, `${toVersion3} PRAGMA user_version = 3`);

  it('takes the ages of what it has from the segments', async () => {
    const dataDir = newDataDirectory();
    await store(dataDir, numberedBatches(60));
    toThird(dataDir);
    const begun = (at: number) => setCreatedAt(dataDir, at);
    const bases = begun(Date.now() - 100 * dayMs);
    await store(dataDir, []);
    expect(await auditOf(dataDir)).toEqual([]);
    const last = bases.at(-1) ?? 0;
    expect(positionAtAge(dataDir, 99 * dayMs)).toBe(last);
    expect(positionAtAge(dataDir, 101 * dayMs)).toBe(0);
  });

  it.each([0, Date.now() + 400 * dayMs])(
    'takes a segment for new whose clock was wrong: begun at %i',
    async (at) => {
      const dataDir = newDataDirectory();
      await store(dataDir, numberedBatches(60));
      toThird(dataDir);
      setCreatedAt(dataDir, at);
      await store(dataDir, []);
      expect(positionAtAge(dataDir, dayMs)).toBe(0);
    },
  );
});

it('stores up to which position keys have expired, so that an audit does not miss them', async () => {
  const dataDir = newDataDirectory();
  await store(dataDir, numberedBatches(6));
  const counters = new SqliteCounterStore(openDatabase(join(dataDir, 'pipeline.db')));
  const end = counters.position;
  expect(counters.expireKeys(end, 10)).toBe(2);
  expect(counters.expireKeys(end - 1, 10)).toBe(0);
  counters.close();
  expect(await auditOf(dataDir)).toEqual([]);
  change(dataDir, 'UPDATE progress SET keys_expired_through = 0');
  expect(await auditOf(dataDir)).toHaveLength(2);
});

it('takes nothing of the ages of another log for those of its own', async () => {
  const dataDir = newDataDirectory();
  await store(dataDir, numberedBatches(6));
  change(
    dataDir,
    `UPDATE progress SET log_id = x'00', keys_expired_through = position;
     INSERT INTO log_ages SELECT position, -1000000000 FROM progress; DELETE FROM idempotency_keys`,
  );
  expect(rebuild(dataDir)).toMatchObject({ isSwitched: true });
  expect(positionAtAge(dataDir, 1_000)).toBe(0);
  expect(await auditOf(dataDir)).toEqual([]);
  await store(dataDir, [], { keepKeysMs: 1_000 });
  expect(await auditOf(dataDir)).toEqual([]);
});

/** Sets when all segments were begun. Returns where they begin. */
function setCreatedAt(dataDir: string, createdAt: number): number[] {
  const segments = listSegments(nodeFileSystem, dataPaths(dataDir).log);
  for (const segment of segments) {
    const bytes = readFileSync(segment.path);
    const identity = readLogIdentity(nodeFileSystem, dataPaths(dataDir).log);
    if (identity === undefined) throw new Error('there is no log');
    headerOf(segment.base, { ...identity, createdAt }).copy(bytes);
    writeFileSync(segment.path, bytes);
  }
  return segments.map(({ base }) => base);
}

function positionAtAge(dataDir: string, ageMs: number): number {
  const counters = new SqliteCounterStore(openDatabase(join(dataDir, 'pipeline.db')));
  const position = counters.age.positionAtAge(ageMs);
  counters.close();
  return position;
}
