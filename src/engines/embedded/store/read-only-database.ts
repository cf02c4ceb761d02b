import {
  accessSync,
  constants,
  copyFileSync,
  mkdtempSync,
  rmSync,
  statSync,
  type BigIntStats,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';

import { sqliteFailure } from '../../../util/sqlite.ts';
import { checkJournal, journalBytes } from './journal-check.ts';
import { checkExists, checkVersion } from './schema.ts';

const copiesMax = 3;

/**
 * Opens the database for reading, also while its writer runs, or where this process cannot write: on a
 * read-only file system, or in another user's directory.
 * @throws if there is no database, or its journal does not belong to it.
 */
export function openDatabaseReadOnly(path: string): DatabaseSync {
  checkExists(path);
  checkJournal(path);
  const database = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
  try {
    // SQLite opens the files with the first statement.
    database.prepare('SELECT 1 FROM sqlite_schema').get();
    return database;
  } catch (error) {
    database.close();
    // In WAL mode, a reader also needs files beside the database, and may have to create them.
    const isUnwritable = ['cannotOpen', 'readOnly'].includes(sqliteFailure(error) ?? '');
    if (!isUnwritable || isWritable(dirname(path))) throw error;
    return journalBytes(path) === 0 ? new ImmutableDatabase(path) : copyOf(path);
  }
}

/**
 * Opens it as `openDatabaseReadOnly` does. @throws also if the database has another schema version.
 */
export function openCurrentReadOnly(path: string): DatabaseSync {
  const database = openDatabaseReadOnly(path);
  try {
    checkVersion(database, path);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * A database without a journal, opened as immutable. SQLite takes no locks then, so `close` checks
 * whether another process has written to the files.
 */
export class ImmutableDatabase extends DatabaseSync {
  readonly #path: string;
  readonly #state: string;

  constructor(path: string) {
    const url = pathToFileURL(path);
    url.searchParams.set('immutable', '1');
    const state = stateOf(path);
    super(url, { readOnly: true });
    this.#path = path;
    this.#state = state;
  }

  /** @throws if the files have changed since it was opened. */
  override close(): void {
    super.close();
    if (stateOf(this.#path) !== this.#state) {
      throw new Error(`${this.#path} was written to while it was read. Run the command again.`);
    }
  }
}

/** A copy of the database and its journal in the directory for temporary files. */
class TemporaryDatabase extends DatabaseSync {
  readonly #remove: () => void;

  constructor(path: string, remove: () => void) {
    super(path, { readOnly: true });
    this.#remove = remove;
    process.once('exit', remove);
  }

  override close(): void {
    super.close();
    this.#remove();
    process.off('exit', this.#remove);
  }
}

/** Reading the journal requires an index file, which cannot be created beside the original. */
function copyOf(path: string): DatabaseSync {
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-'));
  const remove = () => rmSync(directory, { recursive: true, force: true });
  try {
    const copy = join(directory, 'pipeline.db');
    copyUnchanged(path, copy);
    return new TemporaryDatabase(copy, remove);
  } catch (error) {
    remove();
    const { message } = error as Error;
    throw new Error(
      `${path} has a -wal file, and its directory is not writable, so it must be read from a copy in ${tmpdir()}. The copy could not be created: ${message}. Free some space there, or set TMPDIR.`,
      { cause: error },
    );
  }
}

function copyUnchanged(path: string, copy: string): void {
  for (let copies = 0; copies < copiesMax; copies++) {
    const before = stateOf(path);
    for (const suffix of ['', '-wal']) copyFileSync(`${path}${suffix}`, `${copy}${suffix}`);
    if (stateOf(path) === before) return;
  }
  throw new Error('it was written to meanwhile');
}

/** Identifies the state of the database's files. */
function stateOf(path: string): string {
  return ['', '-wal']
    .map((suffix) => statSync(`${path}${suffix}`, { bigint: true, throwIfNoEntry: false }))
    .map((stats: BigIntStats | undefined) =>
      stats === undefined ? '' : [stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' '),
    )
    .join();
}

function isWritable(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
