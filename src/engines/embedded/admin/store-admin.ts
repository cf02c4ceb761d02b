import type { StoreAdmin } from '../../../pipeline/store-admin.ts';
import { dataPaths } from '../data-directory.ts';
import { describeFailure } from '../failure-text.ts';
import { dayZoneOf } from '../store/raw-batches.ts';
import { embeddedRawBodies } from './raw-bodies.ts';

/** Opens a data directory for operators, whether or not a server runs on it. */
export function openDataDirectory(dataDir: string): StoreAdmin {
  return {
    dayZone: () => dayZoneOf(dataDir),
    raw: embeddedRawBodies(dataDir),
    explain: (error) => explainSqliteError(error, dataDir),
    close: () => undefined,
  };
}

/** Replaces an error of SQLite by one that names the file and says what to do, in the words of `serve`. */
export function explainSqliteError(error: unknown, dataDir: string): unknown {
  const isOfDatabase = error instanceof Error && 'errcode' in error;
  if (!isOfDatabase) return error;
  return new Error(describeFailure(error, dataPaths(dataDir)), { cause: error });
}
