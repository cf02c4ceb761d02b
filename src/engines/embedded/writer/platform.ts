import { DatabaseSync } from 'node:sqlite';

import { lockDataDirectory, type DataPaths, type DirectoryLock } from '../data-directory.ts';
import { nodeFileSystem, type FileSystem } from '../log/file-system.ts';

/** The writer's disk, database, clocks and timers, which tests replace. */
export interface Platform {
  readonly fileSystem: FileSystem;
  /** @throws {DataDirectoryUnusable} */
  readonly lockDirectory: (paths: DataPaths) => DirectoryLock;
  readonly connect: Connect;
  /** Called with the duration of each transaction that writes, in milliseconds. */
  readonly onTransaction?: (milliseconds: number) => void;
  /** The wall clock, in milliseconds since 1970; it may jump, also backwards. */
  readonly now: () => number;
  /** A monotonic clock, in milliseconds. */
  readonly elapsedMs: () => number;
  /** Calls `act` once after a delay. Returns a function that cancels it. */
  readonly runLater: (act: () => void, delayMs: number) => () => void;
}

/** Opens a connection to a SQLite database that waits up to `timeoutMs` for locks. */
export type Connect = (path: string, timeoutMs: number) => DatabaseSync;

export const connectSqlite: Connect = (path, timeoutMs) =>
  new DatabaseSync(path, { timeout: timeoutMs });

export const thisMachine: Platform = {
  fileSystem: nodeFileSystem,
  lockDirectory: lockDataDirectory,
  connect: connectSqlite,
  now: Date.now,
  elapsedMs: () => performance.now(),
  runLater(act, delayMs) {
    if (delayMs === 0) {
      const immediate = setImmediate(act);
      return () => clearImmediate(immediate);
    }
    const timer = setTimeout(act, delayMs);
    return () => clearTimeout(timer);
  },
};
