import { once } from 'node:events';
import { copyFileSync, cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Worker } from 'node:worker_threads';

import { describe, expect, it } from 'vitest';

import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import { dropDeadLetters } from '../../../../src/engines/embedded/store/dead-letters.ts';
import { checkJournal, stampAfter } from '../../../../src/engines/embedded/store/journal-check.ts';
import { openDatabaseReadOnly } from '../../../../src/engines/embedded/store/read-only-database.ts';
import { dropReplacedTables } from '../../../../src/engines/embedded/verify/rebuild.ts';
import { SqliteCounterStore } from '../../../../src/engines/embedded/store/counter-store.ts';
import {
  openDatabase,
  openDatabaseForChange,
} from '../../../../src/engines/embedded/store/schema.ts';
import {
  auditOf,
  change,
  newDataDirectory,
  numberedBatches,
  openWriter,
  rebuild,
  store,
} from '../../../support/embedded-store.ts';

/** The state in which a killed server leaves a directory after it has counted `batches` further batches. */
async function killedAfter(dataDir: string, batches: number): Promise<string> {
  const killed = join(newDataDirectory(), 'killed');
  // A reader keeps the journal from being moved into the database in the end.
  const reader = new DatabaseSync(dataPaths(dataDir).database, { readOnly: true });
  reader.prepare('SELECT * FROM progress').get();
  await store(dataDir, numberedBatches(batches));
  cpSync(dataDir, killed, { recursive: true });
  reader.close();
  rmSync(`${dataPaths(killed).database}-shm`, { force: true });
  expect(readFileSync(`${dataPaths(killed).database}-wal`).length).toBeGreaterThan(0);
  return killed;
}

it('a database with a journal of another state is not opened, and audit reports it', async () => {
  const dataDir = newDataDirectory();
  await store(dataDir, numberedBatches(5));
  const first = await killedAfter(dataDir, 5);
  await store(dataDir, numberedBatches(5));
  const second = await killedAfter(dataDir, 5);
  for (const killed of [first, second]) {
    expect(await auditOf(killed)).toEqual([]);
    checkJournal(dataPaths(killed).database);
  }
  const { database } = dataPaths(second);
  const newer = `${database}-newer`;
  copyFileSync(database, newer);
  copyFileSync(dataPaths(first).database, database);
  const what = /pipeline.db-wal does not belong to .*, which is older: .* remove its -wal and -shm/;
  expect(() => openWriter(second)).toThrow(what);
  await expect(auditOf(second)).rejects.toThrow(what);
  // Nor is it read, copied or changed by any other command.
  expect(() => openDatabaseReadOnly(database)).toThrow(what);
  expect(() => openDatabaseForChange(database)).toThrow(what);
  expect(readFileSync(`${database}-wal`).length).toBeGreaterThan(0);
  // As the message says: the database alone, and the log is counted from there.
  rmSync(`${database}-wal`);
  await openWriter(second).close();
  expect(await auditOf(second)).toEqual([]);

  const { database: mixed } = dataPaths(first);
  copyFileSync(newer, mixed);
  for (const open of [
    () => openWriter(first),
    ...[openDatabaseReadOnly, openDatabaseForChange].map((open) => () => open(mixed)),
  ]) {
    expect(open).toThrow(/which is newer/);
  }
});

it('a database from before a rebuild is detected by a later journal', async () => {
  const dataDir = newDataDirectory();
  await store(dataDir, numberedBatches(5));
  const { database } = dataPaths(dataDir);
  const before = `${database}-before`;
  copyFileSync(database, before);
  for (let round = 0; round < 3; round++) {
    rebuild(dataDir);
    dropReplacedTables(dataDir);
  }
  const killed = await killedAfter(dataDir, 1);
  copyFileSync(before, dataPaths(killed).database);
  expect(() => openWriter(killed)).toThrow(/does not belong to .*, which is older/);
});

describe('a commit that is stamped', () => {
  const changes: Record<string, (counters: SqliteCounterStore, dataDir: string) => unknown> = {
    'of a rebuild': (_, dataDir) => rebuild(dataDir),
    'of a dry run': (_, dataDir) => rebuild(dataDir, { dryRun: true }),
    'of a dead letter': (_, dataDir) => dropDeadLetters(dataDir, () => true, 1),
    'of keys that expire': (counters) => counters.expireKeys(counters.position, 10),
    'of segments to be removed': (counters) => counters.recordRemoved(new Map(), 1),
    'of the log': (counters) => counters.adoptLog(new Uint8Array(16)),
    'of the age of the log': (counters) => counters.age.note(counters.position + 1, 0),
    'of the running time': (counters) => counters.age.save(),
  };
  it.each(Object.entries(changes))('%s', async (_, commit) => {
    const dataDir = newDataDirectory();
    await store(dataDir, numberedBatches(5));
    change(dataDir, `INSERT INTO dead_letters VALUES (1, 'id', 'none', 0, 0, NULL, NULL)`);
    const database = openDatabase(dataPaths(dataDir).database);
    const stamp = () => Number(database.prepare('PRAGMA application_id').get()?.['application_id']);
    try {
      const counters = new SqliteCounterStore(database);
      const before = stamp();
      commit(counters, dataDir);
      expect(stamp()).toBeGreaterThan(before);
    } finally {
      database.close();
    }
  });
});

/** Commits, and moves the journal into the database every few commits, until it is ended. */
const committing = `
  const { DatabaseSync } = require('node:sqlite');
  const { parentPort, workerData } = require('node:worker_threads');
  const database = new DatabaseSync(workerData);
  database.exec('PRAGMA wal_autocheckpoint = 7');
  for (let commits = 1; ; commits++) {
    database.exec(\`BEGIN IMMEDIATE; PRAGMA application_id = \${commits}; UPDATE t SET a = a + 1; COMMIT\`);
    if (commits === 100) parentPort.postMessage('busy');
  }`;

it('a valid journal is accepted during writes', async () => {
  const path = join(newDataDirectory(), 'busy.db');
  const database = new DatabaseSync(path);
  database.exec('PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (0)');
  const writer = new Worker(committing, { eval: true, workerData: path });
  try {
    await once(writer, 'message');
    for (let looks = 0; looks < 2_000; looks++) checkJournal(path);
    expect(database.prepare('SELECT a FROM t').get()?.['a']).toBeGreaterThan(100);
  } finally {
    await writer.terminate();
    database.close();
  }
});

it('uncommitted or torn parts are ignored', async () => {
  const dataDir = newDataDirectory();
  await store(dataDir, numberedBatches(5));
  const killed = await killedAfter(dataDir, 5);
  const { database } = dataPaths(killed);
  const journal = readFileSync(`${database}-wal`);
  const pageBytes = journal.readUInt32BE(8);
  // Of the first frame one byte is other than it was written: nothing behind it is in force.
  journal.writeUInt8(journal.readUInt8(32 + 24 + 68) ^ 0x40, 32 + 24 + 68);
  writeFileSync(`${database}-wal`, journal.subarray(0, 32 + 2 * (24 + pageBytes)));
  checkJournal(database);
  await openWriter(killed).close();
  expect(await auditOf(killed)).toEqual([]);
});

it('stamps wrap around', () => {
  expect(stampAfter(2 ** 31 - 1)).toBe(-(2 ** 31));
});
