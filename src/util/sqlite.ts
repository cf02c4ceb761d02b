import type { DatabaseSync } from 'node:sqlite';

type SqliteFailure = 'busy' | 'readOnly' | 'ioError' | 'corrupt' | 'full' | 'cannotOpen';

/** Primary result codes, which are the low byte of an extended one. Source: sqlite.org/rescode.html */
const primaryCodes: Record<number, SqliteFailure> = {
  5: 'busy',
  6: 'busy',
  8: 'readOnly',
  10: 'ioError',
  11: 'corrupt',
  13: 'full',
  14: 'cannotOpen',
  26: 'corrupt',
};

/** SQLITE_IOERR_SHMSIZE: the disk has no space for the index of the write-ahead log. */
const sharedMemoryFull = 10 | (19 << 8);

/** The kind of a SQLite error; undefined for other errors and other kinds. */
export function sqliteFailure(error: unknown): SqliteFailure | undefined {
  if (!(error instanceof Error) || !('errcode' in error)) return undefined;
  const code = Number(error.errcode);
  return code === sharedMemoryFull ? 'full' : primaryCodes[code & 0xff];
}

/** Whether SQLite threw the error. */
export function isSqliteError(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error;
}

/** Whether another connection holds the lock, so that a retry may succeed. */
export function isSqliteBusy(error: unknown): boolean {
  return sqliteFailure(error) === 'busy';
}

/** Runs `act` between `begin` and the commit; an error rolls everything back. */
export function transaction<T>(
  database: DatabaseSync,
  begin: 'BEGIN' | 'BEGIN IMMEDIATE',
  act: () => T,
): T {
  database.exec(begin);
  try {
    const result = act();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    // Some errors have already ended the transaction.
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}
