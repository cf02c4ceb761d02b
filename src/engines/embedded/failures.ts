import type { DataPaths } from './data-directory.ts';
import { LogDamaged } from './log-recovery.ts';
import { isSqliteCorrupt, isSqliteFull } from './sqlite-errors.ts';
import { databaseDamaged } from './sqlite-schema.ts';

/** More of SQLite's result codes; the low byte is the primary one. Source: sqlite.org/rescode.html */
const sqliteCodes = { readOnly: 8, ioError: 10, cannotOpen: 14, sharedMemoryFull: 10 | (19 << 8) };

/** One sentence that says what failed, and one that says what to do. */
export function describeFailure(error: unknown, { root, database }: DataPaths): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof LogDamaged) return error.message;
  if (isSqliteCorrupt(error)) return databaseDamaged(database, error).message;
  const code = 'code' in error ? error.code : undefined;
  const sqliteCode = 'errcode' in error ? Number(error.errcode) : 0;
  const isFull =
    code === 'ENOSPC' ||
    code === 'EDQUOT' ||
    isSqliteFull(error) ||
    sqliteCode === sqliteCodes.sharedMemoryFull;
  if (isFull) {
    return `The disk that holds ${root} is full. Make room and start again; everything that was acknowledged is stored.`;
  }
  if (code === 'EFBIG') {
    return `A file in ${root} may not grow further (${error.message}). Raise the limit on the size of files (ulimit -f) and start again; everything that was acknowledged is stored.`;
  }
  switch (sqliteCode & 0xff) {
    case sqliteCodes.readOnly:
      // SQLite gives the files beside it the same rights, so that they may outlive a refused start.
      return unwritable(`${database}, or its -wal or -shm file,`, error);
    case sqliteCodes.ioError:
      return broken(root, error);
    case sqliteCodes.cannotOpen:
      return `${database} cannot be opened (${error.message}). It and its -wal and -shm files must be plain files that this user may read and write.`;
  }
  if (code === 'EIO') return broken(root, error);
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') return unwritable(root, error);
  return error.message;
}

function broken(root: string, { message }: Error): string {
  return `The disk that holds ${root} failed (${message}). Check it, and the limit on the size of files (ulimit -f), then start again; everything that was acknowledged was stored before.`;
}

function unwritable(path: string, { message }: Error): string {
  return `${path} cannot be written (${message}). Give this user the right to, or choose another directory with --data-dir.`;
}
