import { statSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

import { placeOfBatchId } from '../../../domain/batch-id.ts';
import { readError } from '../data-directory.ts';
import { checkJournal, stampCommit } from './journal-check.ts';
import { connectSqlite, type Connect } from '../writer/platform.ts';
import { sqliteFailure } from './sqlite-errors.ts';

const schemaVersion = 4;

/*
 * Plain tables, for any reader of SQLite. `type_state` orders the rows of a date as the engine on
 * AWS does: type, '#', state, compared as UTF-8 bytes. The first four hold what the log says, and
 * are made again from it by a rebuild, as tables with a suffix.
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

/* `position`: where the record of the batch stands in the log. */
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
 * Batches that came from another installation, under the ids that they have had since they were
 * received, and where their records stand. The rows stay when the records are removed: a batch
 * that is replayed again must not count again.
 */
const replayedBatches = (name: string) => `
  CREATE TABLE ${name} (
    batch_id TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;`;

/*
 * Records that are not counted, by their position in the log. Where nothing sound stands there,
 * `damaged_through` is the end of the damage. What was dropped is never counted.
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

/** Keys expire by their place in the log. */
export const keysByPosition =
  'CREATE INDEX idempotency_keys_by_position ON idempotency_keys (position)';

/** What the log says, and a rebuild makes anew. */
export const generationTables = [
  'counters',
  'idempotency_keys',
  'dead_letters',
  'replayed_batches',
] as const;

/** Makes those tables under names with a suffix. */
export function createGeneration(database: DatabaseSync, suffix: string): void {
  database.exec(countersTable(`counters${suffix}`));
  database.exec(idempotencyKeys(`idempotency_keys${suffix}`));
  database.exec(deadLetters(`dead_letters${suffix}`));
  database.exec(replayedBatches(`replayed_batches${suffix}`));
}

/*
 * progress, one row: of which log the counters are, and through which byte of it they have counted;
 * keys of records before `keys_expired_through` may be gone, and those received before
 * `keys_expired_before` (ms), which earlier versions went by; what records before `removed_through`
 * counted stands in `removed_counters` too, since their segments may be gone; `run_ms`: how long
 * servers have run. log_ages: up to which position the log was there when they had run so long.
 */
const logAges = `
  CREATE TABLE log_ages (
    position INTEGER PRIMARY KEY,
    run_ms INTEGER NOT NULL
  ) STRICT;`;

const schema = `
  ${countersTable('counters')}
  ${idempotencyKeys('idempotency_keys')}
  ${keysByPosition};
  ${deadLetters('dead_letters')}
  ${replayedBatches('replayed_batches')}
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

/** An interrupted rebuild begins anew: its tables are of the earlier form. */
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
 * What is committed and not moved into the database yet stands in SQLite's journal (`pipeline.db-wal`),
 * which grows as long as somebody reads an older state. No answer is read slowly beside one of more
 * bytes than this, and it is cut back to a quarter of that as soon as nobody holds it up.
 */
export const journalBytesMax = 256 * 1024 * 1024;
const journalBytesKept = journalBytesMax / 4;

/** What makes a database of the version before into one of the next. */
const changes = [
  schema,
  fromVersion1 + fromVersion2 + fromVersion3,
  fromVersion2 + fromVersion3,
  fromVersion3,
];

/**
 * Opens the database for its one writer and makes the tables where they are missing.
 * WAL with synchronous=NORMAL: a power failure may take the last transactions, whole; they are
 * counted again from the log.
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
      database.function('place_of', (batchId) => placeOfBatchId(String(batchId)) ?? 0);
      database.exec(`BEGIN IMMEDIATE; ${change}; PRAGMA user_version = ${schemaVersion}; COMMIT`);
    } else if (version !== schemaVersion) {
      throw writtenByAnother(path, version);
    }
    // From here on a lock that somebody holds must not hold up the log: the processor tries again.
    database.exec('PRAGMA busy_timeout = 0');
    return database;
  } catch (error) {
    database.close();
    throw sqliteFailure(error) === 'corrupt' ? databaseDamaged(path, error) : error;
  }
}

/**
 * Opens the database to change it beside its writer, which waits while a transaction is open.
 * @throws where there is none, or it is of another version.
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

/** All of it is done, or nothing. What only reads takes `BEGIN`. */
export function inTransaction<T>(
  database: DatabaseSync,
  act: () => T,
  begin: 'BEGIN' | 'BEGIN IMMEDIATE' = 'BEGIN IMMEDIATE',
): T {
  database.exec(begin);
  try {
    if (begin === 'BEGIN IMMEDIATE') stampCommit(database);
    const result = act();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

/** @throws where there is no database, or this user may not read it. */
export function checkExists(path: string): void {
  try {
    statSync(path);
  } catch (error) {
    const absent = `There is no pipeline at ${path}. Start one with serve, or name its --data-dir.`;
    throw readError(path, error, absent);
  }
}

/** @throws where the tables are not as this version knows them. */
export function checkVersion(database: DatabaseSync, path: string): void {
  const version = userVersion(database);
  if (version === schemaVersion) return;
  if (version < schemaVersion) {
    throw new Error(
      `${path} was written by an earlier version (schema ${version}). Start serve once, which brings it up to date.`,
    );
  }
  throw writtenByAnother(path, version);
}

function writtenByAnother(path: string, version: number): Error {
  return new Error(
    `${path} was written by another version of device-pipeline (schema ${version}, this one knows ${schemaVersion}). Run that version.`,
  );
}

export function databaseDamaged(path: string, cause: unknown): Error {
  return new Error(
    `${path} is damaged. Move it and its -wal and -shm files away and start again: the counters are made anew from the log. If old segments were removed from the log (--keep-raw), restore ${path} from a backup instead.`,
    { cause },
  );
}

function userVersion(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.['user_version']);
}
