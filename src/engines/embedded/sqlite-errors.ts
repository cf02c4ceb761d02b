/** SQLite's primary result codes that are told apart. Source: sqlite.org/rescode.html */
const codes = { busy: 5, locked: 6, readonly: 8, ioError: 10, corrupt: 11, full: 13, notADb: 26 };

function isSqliteError(error: unknown, ...primaryCodes: number[]): boolean {
  if (!(error instanceof Error) || !('errcode' in error)) return false;
  // The primary code is the low byte of an extended one.
  return primaryCodes.includes(Number(error.errcode) & 0xff);
}

/** Another connection holds the lock; the same may succeed later. */
export function isSqliteBusy(error: unknown): boolean {
  return isSqliteError(error, codes.busy, codes.locked);
}

export function isSqliteFull(error: unknown): boolean {
  return isSqliteError(error, codes.full);
}

export function isSqliteCorrupt(error: unknown): boolean {
  return isSqliteError(error, codes.corrupt, codes.notADb);
}
