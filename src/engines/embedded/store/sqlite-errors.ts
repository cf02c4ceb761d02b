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

/** SQLITE_IOERR_SHMSIZE: there was no room for the index of the write-ahead log. */
const sharedMemoryFull = 10 | (19 << 8);

/** What failed, where the error is SQLite's and of a kind that is told apart. */
export function sqliteFailure(error: unknown): SqliteFailure | undefined {
  if (!(error instanceof Error) || !('errcode' in error)) return undefined;
  const code = Number(error.errcode);
  return code === sharedMemoryFull ? 'full' : primaryCodes[code & 0xff];
}

/** Whether the error is SQLite's, of whatever kind. */
export function isSqliteError(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error;
}

/** Another connection holds the lock; the same may succeed later. */
export function isSqliteBusy(error: unknown): boolean {
  return sqliteFailure(error) === 'busy';
}
