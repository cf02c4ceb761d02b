import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { positionOfBatchId } from '../../../domain/batch-id.ts';
import { checkRestored, dataPaths, readError } from '../data-directory.ts';
import { checkJournal, stampCommit } from './journal-check.ts';
import { connectSqlite, type Connect } from '../writer/platform.ts';
import { sqliteFailure, transaction } from '../../../util/sqlite.ts';

const schemaVersion = 4;

/*
 * Plain tables that any SQLite client can read. `type_state` orders the rows of a date as the engine
 * on AWS does: type, '#', state, compared as UTF-8 bytes. The first four tables follow from the log; a rebuild creates them again under names with a suffix.
 */
/** A table of counters. */
export const countersTable = (name: string) => `
  CREATE TABLE ${name} (
    date TEXT NOT NULL,
    type_state TEXT NOT NULL,
    type TEXT NOT NULL,
    state TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (date, type_state)
  ) STRICT, WITHOUT ROWID;`;

/* `position`: the position of the batch's record in the log. */
const idempotencyKeys = (name: string) => `
  CREATE TABLE ${name} (
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    body_sha256 BLOB NOT NULL,
    batch_id TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
  ) STRICT, WITHOUT ROWID;`;

/*
 * Replayed batches, under the ids that the original installation assigned, and the positions of their
 * records. The rows stay when the records are removed, so that a repeated replay does not count again.
 */
const replayedBatches = (name: string) => `
  CREATE TABLE ${name} (
    batch_id TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;`;

/*
 * Dead letters, by the position of their record. For a damaged range of the log, `damaged_through` is
 * its end. Dropped ones are never counted.
 */
const deadLetters = (name: string) => `
  CREATE TABLE ${name} (
    position INTEGER PRIMARY KEY,
    batch_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    first_failed_at INTEGER NOT NULL,
    last_failed_at INTEGER NOT NULL,
    dropped_at INTEGER,
    damaged_through INTEGER
  ) STRICT;`;

/** The index for expiry, which deletes keys by position. */
export const keysByPosition =
  'CREATE INDEX idempotency_keys_by_position ON idempotency_keys (position)';

/** The tables that follow from the log and that a rebuild replaces. */
const generation = {
  counters: countersTable,
  idempotency_keys: idempotencyKeys,
  dead_letters: deadLetters,
  replayed_batches: replayedBatches,
};
export const generationTables = Object.keys(generation);

/** SQL that creates the tables that follow from the log, under names with a suffix. */
export function createGeneration(suffix: string): string {
  return Object.entries(generation)
    .map(([table, create]) => create(table + suffix))
    .join('');
}

/*
 * progress, one row: the log that is counted, and the position up to which it is counted. Keys of
 * records before `keys_expired_through` may have expired, as may those received before
 * `keys_expired_before` (ms), which earlier versions wrote. `removed_counters` holds the increments of
 * the records before `removed_through`, whose segments may be removed. `run_ms`: running time of all
 * servers. log_ages: the position that the log had reached at some running times.
 */
const logAges = `
  CREATE TABLE log_ages (
    position INTEGER PRIMARY KEY,
    run_ms INTEGER NOT NULL
  ) STRICT;`;

const schema = `
  ${createGeneration('')}
  ${keysByPosition};
  ${countersTable('removed_counters')}
  CREATE TABLE progress (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    log_id BLOB,
    position INTEGER NOT NULL,
    keys_expired_before INTEGER NOT NULL DEFAULT 0,
    removed_through INTEGER NOT NULL DEFAULT 0,
    keys_expired_through INTEGER NOT NULL DEFAULT 0,
    run_ms INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  INSERT INTO progress (one, log_id, position) VALUES (1, NULL, 0);
  ${logAges}
  INSERT INTO log_ages (position, run_ms) VALUES (0, 0);
`;

const fromVersion1 = `
  ALTER TABLE progress ADD COLUMN keys_expired_before INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE progress ADD COLUMN removed_through INTEGER NOT NULL DEFAULT 0;
  ${countersTable('removed_counters')}
  ALTER TABLE dead_letters RENAME TO dead_letters_1;
  ${deadLetters('dead_letters')}
  INSERT INTO dead_letters
    SELECT position, batch_id, reason, failed_at, failed_at, NULL, NULL FROM dead_letters_1;
  DROP TABLE dead_letters_1;
`;

/** An interrupted rebuild starts again, since its tables have the earlier schema. */
const fromVersion2 = `
  DROP TABLE IF EXISTS counters_next;
  DROP TABLE IF EXISTS idempotency_keys_next;
  DROP TABLE IF EXISTS dead_letters_next;
  DROP TABLE IF EXISTS rebuild;
  ALTER TABLE idempotency_keys RENAME TO idempotency_keys_2;
  DROP INDEX IF EXISTS idempotency_keys_by_age;
  ${idempotencyKeys('idempotency_keys')}
  INSERT INTO idempotency_keys
    SELECT caller, key, body_sha256, batch_id, received_at, place_of(batch_id) FROM idempotency_keys_2;
  DROP TABLE idempotency_keys_2;
  ${replayedBatches('replayed_batches')}
`;

/** `LogAge` fills the empty table from the segments. */
const fromVersion3 = `
  DROP INDEX IF EXISTS idempotency_keys_by_age;
  ${keysByPosition};
  ALTER TABLE progress ADD COLUMN keys_expired_through INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE progress ADD COLUMN run_ms INTEGER NOT NULL DEFAULT 0;
  ${logAges}
`;

/**
 * SQLite's journal (`pipeline.db-wal`) holds commits that are not in the database file yet, and
 * grows as long as a connection reads an older state. Above this size, in bytes, streamed responses
 * are ended, and the journal is truncated to a quarter of it as soon as no reader prevents that.
 */
export const journalBytesMax = 256 * 1024 * 1024;
const journalBytesKept = journalBytesMax / 4;

/** The statements that bring a database of each version up to date, by version. */
const changes = [
  schema,
  fromVersion1 + fromVersion2 + fromVersion3,
  fromVersion2 + fromVersion3,
  fromVersion3,
];

/**
 * Opens the database for its writer, and creates or migrates the tables. WAL with synchronous=NORMAL:
 * a power failure may undo the last transactions as a whole; they are counted again from the log.
 */
export function openDatabase(path: string, connect: Connect = connectSqlite): DatabaseSync {
  const database = connect(path, 5000);
  try {
    database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = ${journalBytesKept}`,
    );
    const version = userVersion(database);
    const change = changes[version];
    if (change !== undefined) {
      database.function('place_of', (batchId) => positionOfBatchId(String(batchId)) ?? 0);
      database.exec(`BEGIN IMMEDIATE; ${change}; PRAGMA user_version = ${schemaVersion}; COMMIT`);
    } else if (version !== schemaVersion) {
      throw writtenByAnother(path, version);
    }
    // From here on, another process's lock must not block the log: the processor retries.
    database.exec('PRAGMA busy_timeout = 0');
    return database;
  } catch (error) {
    database.close();
    throw sqliteFailure(error) === 'corrupt' ? databaseDamaged(path, error) : error;
  }
}

/**
 * Opens the database for a command that changes it while a server may run; the server waits during
 * transactions.
 * @throws if there is no database, or one of another version.
 */
export function openDatabaseForChange(path: string): DatabaseSync {
  checkExists(path);
  checkJournal(path);
  const database = new DatabaseSync(path, { timeout: 30_000 });
  try {
    checkVersion(database, path);
    database.exec('PRAGMA synchronous = NORMAL');
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

export function hasTable(database: DatabaseSync, name: string): boolean {
  return database.prepare('SELECT 1 FROM sqlite_schema WHERE name = ?').get(name) !== undefined;
}

/** Runs `act` in a transaction that writes. */
export function inTransaction<T>(database: DatabaseSync, act: () => T): T {
  return transaction(database, 'BEGIN IMMEDIATE', () => {
    stampCommit(database);
    return act();
  });
}

/** @throws if there is no database, or this user may not read it. */
export function checkExists(path: string): void {
  try {
    statSync(path);
  } catch (error) {
    checkRestored(dataPaths(dirname(path)));
    const absent = `There is no pipeline at ${path}. Start one with serve, or name its --data-dir.`;
    throw readError(path, error, absent);
  }
}

/** @throws if the database has another schema version. */
export function checkVersion(database: DatabaseSync, path: string): void {
  const version = userVersion(database);
  if (version === schemaVersion) return;
  if (version < schemaVersion) {
    throw new Error(
      `${path} was written by an earlier version (schema ${version}). Start serve once to upgrade it.`,
    );
  }
  throw writtenByAnother(path, version);
}

function writtenByAnother(path: string, version: number): Error {
  return new Error(
    `${path} was written by another version of device-pipeline (schema ${version}; this version needs ${schemaVersion}). Use that version.`,
  );
}

export function databaseDamaged(path: string, cause: unknown): Error {
  return new Error(
    `${path} is damaged. Move it and its -wal and -shm files away and start again: the log is counted again. If old segments were removed from the log (--keep-raw), restore ${path} from a backup instead.`,
    { cause },
  );
}

function userVersion(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.['user_version']);
}
