import type { DatabaseSync } from 'node:sqlite';

/** The state of a chunk, as stored. */
export const chunkStates = {
  /** It has no dedup record, or had none yet. */
  open: 0,
  /** It has a dedup record. */
  recorded: 1,
  /** It is so old that its dedup record may have expired: assumed to be counted. */
  forgotten: 2,
  /** An operator dropped it: it is never counted. */
  dropped: 3,
  /** The counters include it, but its dedup record is missing. */
  unrecorded: 4,
} as const;

/** The state of a raw body or of a group, as stored. */
export const batchStates = { unread: 0, read: 1, damaged: 2, gone: 3 } as const;

/**
 * The part of the raw store that an interrupted rebuild has read; the next one does not read it
 * again.
 */
const kept = `
  CREATE TABLE IF NOT EXISTS batches (
    raw_key TEXT PRIMARY KEY, batch TEXT NOT NULL, since INTEGER NOT NULL, bytes INTEGER NOT NULL,
    etag TEXT NOT NULL, run INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, reason TEXT,
    accepted INTEGER, rejected INTEGER, chunks INTEGER
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS batches_by_id ON batches (batch);
  CREATE INDEX IF NOT EXISTS batches_unread ON batches (raw_key) WHERE state = 0;
  CREATE TABLE IF NOT EXISTS chunks (
    id INTEGER PRIMARY KEY, batch TEXT NOT NULL, chunk INTEGER NOT NULL, items INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0, UNIQUE (batch, chunk)
  );
  CREATE INDEX IF NOT EXISTS chunks_open ON chunks (id) WHERE state = 0;
  CREATE TABLE IF NOT EXISTS counters (
    id INTEGER PRIMARY KEY, date TEXT NOT NULL, type_state TEXT NOT NULL, type TEXT NOT NULL,
    state TEXT NOT NULL, UNIQUE (date, type_state)
  );
  CREATE TABLE IF NOT EXISTS increments (
    counter INTEGER NOT NULL, chunk INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (counter, chunk)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS batch_keys (
    batch TEXT PRIMARY KEY, key TEXT NOT NULL, received_at INTEGER NOT NULL, replayed_at INTEGER,
    body_sha256 BLOB NOT NULL, items_per_message TEXT NOT NULL, excluded TEXT NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS batches_by_key ON batch_keys (key);
  CREATE TABLE IF NOT EXISTS groups (
    key TEXT PRIMARY KEY, since INTEGER NOT NULL, bytes INTEGER NOT NULL, etag TEXT NOT NULL,
    run INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, reason TEXT
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS groups_unread ON groups (key) WHERE state = 0;
  CREATE TABLE IF NOT EXISTS grouped (raw_key TEXT PRIMARY KEY, group_key TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS bodies (
    batch TEXT NOT NULL, body_sha256 BLOB NOT NULL, place TEXT NOT NULL, PRIMARY KEY (batch, body_sha256)
  ) WITHOUT ROWID;`;

/** The tables, the dead-letter queue and the comparison; each run reads them again. */
const ofOneRun = `
  DROP TABLE IF EXISTS dedup_records; DROP TABLE IF EXISTS batch_rows; DROP TABLE IF EXISTS dropped;
  DROP TABLE IF EXISTS dead; DROP TABLE IF EXISTS expected; DROP TABLE IF EXISTS open_increments;
  DROP TABLE IF EXISTS counted; DROP TABLE IF EXISTS findings; DROP TABLE IF EXISTS foreign_messages;
  DROP TABLE IF EXISTS key_rows; DROP TABLE IF EXISTS key_issues;
  CREATE TABLE dedup_records (
    batch TEXT NOT NULL, chunk INTEGER NOT NULL, items INTEGER, dropped INTEGER NOT NULL,
    PRIMARY KEY (batch, chunk)
  ) WITHOUT ROWID;
  CREATE TABLE batch_rows (
    batch TEXT PRIMARY KEY, accepted INTEGER, rejected INTEGER, chunks INTEGER
  ) WITHOUT ROWID;
  CREATE TABLE dropped (batch TEXT PRIMARY KEY) WITHOUT ROWID;
  CREATE TABLE dead (batch TEXT NOT NULL, chunk INTEGER NOT NULL, PRIMARY KEY (batch, chunk)) WITHOUT ROWID;
  CREATE TABLE foreign_messages (counter INTEGER PRIMARY KEY, count INTEGER NOT NULL);
  CREATE TABLE expected (counter INTEGER PRIMARY KEY, count INTEGER NOT NULL);
  CREATE TABLE open_increments (
    counter INTEGER NOT NULL, chunk INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (counter, chunk)
  ) WITHOUT ROWID;
  CREATE INDEX open_by_chunk ON open_increments (chunk);
  CREATE TABLE counted (counter INTEGER PRIMARY KEY, count REAL, is_named_right INTEGER NOT NULL);
  CREATE TABLE findings (
    counter INTEGER PRIMARY KEY, kind TEXT NOT NULL, counted REAL, expected REAL NOT NULL, excess REAL NOT NULL
  );
  CREATE TABLE key_rows (
    key TEXT PRIMARY KEY, batch TEXT NOT NULL, received_at INTEGER, replayed_at INTEGER,
    body_sha256 BLOB NOT NULL, items_per_message TEXT NOT NULL, excluded TEXT NOT NULL, expires_at INTEGER
  ) WITHOUT ROWID;
  CREATE TABLE key_issues (key TEXT PRIMARY KEY, code TEXT NOT NULL, batch TEXT, seen TEXT) WITHOUT ROWID;`;

const cacheKib = 64 * 1024;

/** Creates the tables, or reuses those of an interrupted rebuild. */
export function prepareAuditDatabase(database: DatabaseSync): void {
  // The file can be created again, so it need not survive a power cut.
  database.exec(`
    PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
    PRAGMA cache_size = -${cacheKib};`);
  database.exec(`BEGIN; ${kept} ${ofOneRun} COMMIT;`);
}

/** Deletes everything that was read. */
export function emptyAuditDatabase(database: DatabaseSync): void {
  database.exec(`
    BEGIN;
    DROP TABLE IF EXISTS batches; DROP TABLE IF EXISTS chunks; DROP TABLE IF EXISTS counters;
    DROP TABLE IF EXISTS increments; DROP TABLE IF EXISTS batch_keys;
    DROP TABLE IF EXISTS groups; DROP TABLE IF EXISTS grouped; DROP TABLE IF EXISTS bodies; ${kept} ${ofOneRun}
    COMMIT;`);
}
