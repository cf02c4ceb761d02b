import type { DataPaths } from './data-directory.ts';
import { LogDamaged } from './log-recovery.ts';
import { isSqliteCorrupt, isSqliteFull } from './sqlite-errors.ts';
import { databaseDamaged } from './sqlite-schema.ts';

/** One sentence that says what failed, and one that says what to do. */
export function describeFailure(error: unknown, { root, database }: DataPaths): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof LogDamaged) return error.message;
  if (isSqliteCorrupt(error)) return databaseDamaged(database, error).message;
  const code = 'code' in error ? error.code : undefined;
  if (code === 'ENOSPC' || code === 'EDQUOT' || isSqliteFull(error)) {
    return `The disk that holds ${root} is full. Make room and start again; everything that was acknowledged is stored.`;
  }
  if (code === 'EIO') {
    return `The disk that holds ${root} failed (${error.message}). Check it, then start again; everything that was acknowledged was stored before.`;
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return `${root} cannot be written (${error.message}). Give this user the right to, or choose another directory with --data-dir.`;
  }
  return error.message;
}
