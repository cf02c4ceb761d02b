import { existsSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

import { sqliteFailure } from './sqlite-errors.ts';

const schemaVersion = 1;

/*
 * Plain tables, for any reader of SQLite. `type_state` orders the rows of a date as the engine on
 * AWS does: type, '#', state, compared as UTF-8 bytes.
 */
const schema = `
  CREATE TABLE counters (
    date TEXT NOT NULL,
    type_state TEXT NOT NULL,
    type TEXT NOT NULL,
    state TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (date, type_state)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE idempotency_keys (
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    body_sha256 BLOB NOT NULL,
    batch_id TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX idempotency_keys_by_age ON idempotency_keys (received_at);

  CREATE TABLE dead_letters (
    position INTEGER PRIMARY KEY,
    batch_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    failed_at INTEGER NOT NULL
  ) STRICT;

  -- One row: of which log the counters are, and through which byte of it they have counted.
  CREATE TABLE progress (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    log_id BLOB,
    position INTEGER NOT NULL
  ) STRICT;
  INSERT INTO progress VALUES (1, NULL, 0);
`;

/**
 * Opens the database for its one writer and makes the tables where they are missing.
 * WAL with synchronous=NORMAL: a power failure may take the last transactions, whole; they are
 * counted again from the log.
 */
export function openDatabase(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: 5000 });
  try {
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    const version = userVersion(database);
    if (version === 0) {
      database.exec(`BEGIN IMMEDIATE; ${schema}; PRAGMA user_version = ${schemaVersion}; COMMIT`);
    } else if (version !== schemaVersion) {
      throw new Error(
        `${path} was written by another version of device-pipeline (schema ${version}, this one knows ${schemaVersion}). Run that version.`,
      );
    }
    // From here on a lock that somebody holds must not hold up the log: the processor tries again.
    database.exec('PRAGMA busy_timeout = 0');
    return database;
  } catch (error) {
    database.close();
    throw sqliteFailure(error) === 'corrupt' ? databaseDamaged(path, error) : error;
  }
}

/** Opens the database beside its writer. @throws where there is none. */
export function openDatabaseReadOnly(path: string): DatabaseSync {
  if (!existsSync(path)) {
    throw new Error(
      `There is no pipeline at ${path}. Start one with serve, or name its --data-dir.`,
    );
  }
  return new DatabaseSync(path, { readOnly: true, timeout: 5000 });
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
