import { DatabaseSync } from 'node:sqlite';

import { lockDataDirectory, type DataPaths, type DirectoryLock } from '../data-directory.ts';
import { nodeFileSystem, type FileSystem } from '../log/file-system.ts';

/** What the writer stands on: its disk, its database, its clocks and its timers. */
export interface Platform {
  readonly fileSystem: FileSystem;
  /** @throws {DataDirectoryUnusable} */
  readonly lockDirectory: (paths: DataPaths) => DirectoryLock;
  readonly connect: Connect;
  /** Milliseconds since 1970, as the clock on the wall has it: it may go back, or jump. */
  readonly now: () => number;
  /** Milliseconds since some moment; never goes back. */
  readonly elapsedMs: () => number;
  /** Runs something later, once. Returns how to call it off. */
  readonly runLater: (act: () => void, delayMs: number) => () => void;
}

/** Opens a connection to a SQLite database, which waits so long for locks. */
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
