import type { DataPaths } from './data-directory.ts';
import { LogDamaged } from './log/recovery.ts';
import { sqliteFailure } from '../../util/sqlite.ts';
import { databaseDamaged } from './store/schema.ts';

/** Describes a failure: what failed, and what to do. */
export function describeFailure(error: unknown, paths: DataPaths): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof LogDamaged) return error.message;
  return ofDatabase(error, paths) ?? ofFileSystem(error, paths) ?? error.message;
}

function ofDatabase(error: Error, { root, database }: DataPaths): string | undefined {
  switch (sqliteFailure(error)) {
    case 'corrupt':
      return databaseDamaged(database, error).message;
    case 'full':
      return full(root);
    case 'ioError':
      return broken(root, error);
    case 'readOnly':
      // The files beside the database may have wrong permissions, too: SQLite copies the database's.
      return unwritable(`${database}, or its -wal or -shm file,`, error);
    case 'cannotOpen':
      return `${database} cannot be opened (${error.message}). It and its -wal and -shm files must be plain files that this user may read and write. If they are, raise the limit on open files (ulimit -n).`;
    case 'busy':
      return `${database} is locked by another program. Stop that program, then start again.`;
    case undefined:
      // For example, a missing table.
      return 'errcode' in error ? databaseDamaged(database, error).message : undefined;
  }
}

function ofFileSystem(error: NodeJS.ErrnoException, { root }: DataPaths): string | undefined {
  switch (error.code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return full(root);
    case 'EFBIG':
      return `A file in ${root} may not grow further (${error.message}). Raise the limit on the size of files (ulimit -f) and start again; everything that was acknowledged is stored.`;
    case 'EMFILE':
    case 'ENFILE':
      return `${root} cannot be used any longer, because no more files can be opened (${error.message}). ${moreFiles} and start again; everything that was acknowledged is stored.`;
    case 'EIO':
      return broken(root, error);
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return unwritable(root, error);
    case undefined:
    default:
      return undefined;
  }
}

const moreFiles = 'Raise the limit on open files (ulimit -n, or LimitNOFILE= of systemd)';

function full(root: string): string {
  return `The disk that holds ${root} is full. Free some space and start again; everything that was acknowledged is stored.`;
}

function broken(root: string, { message }: Error): string {
  return `The disk that holds ${root} failed (${message}). Check it, and the limit on the size of files (ulimit -f), then start again; everything that was acknowledged was stored before.`;
}

function unwritable(path: string, { message }: Error): string {
  return `${path} cannot be written (${message}). Give this user permission to write there, or choose another directory with --data-dir.`;
}
