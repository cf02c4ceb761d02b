import { randomBytes } from 'node:crypto';
import {
  accessSync,
  chownSync,
  constants,
  existsSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { nodeFileSystem } from './log/file-system.ts';
import { makeDirectories } from '../../util/directories.ts';
import { isSqliteBusy, sqliteFailure } from '../../util/sqlite.ts';

/** The paths in a data directory. */
export interface DataPaths {
  readonly root: string;
  /** The directory of the log's segments. */
  readonly log: string;
  /** The SQLite database of the counters. */
  readonly database: string;
  /** The hashes of the tokens. */
  readonly tokens: string;
  /** Exists once tokens were created; in the log's directory, so that copies of the log include it. */
  readonly tokensRequired: string;
}

export function dataPaths(root: string): DataPaths {
  const absolute = resolve(root);
  return {
    root: absolute,
    log: join(absolute, 'log'),
    database: join(absolute, 'pipeline.db'),
    tokens: join(absolute, 'tokens.json'),
    tokensRequired: join(absolute, 'log', 'tokens-required.log'),
  };
}

/** The directory in which a restore prepares its files. */
export const restoringName = 'restoring';

export interface DirectoryLock {
  release(): void;
}

/** The data directory cannot be used; the message says why and what to do. */
export class DataDirectoryUnusable extends Error {
  override readonly name = 'DataDirectoryUnusable';
}

/** Keeps the connections alive: the garbage collector would close them, and release their locks. */
const heldLocks = new Set<DatabaseSync>();

/**
 * Creates the directory if it is missing and locks it for this process, until `release` or the end of
 * the process. SQLite takes the lock, a kernel lock on an otherwise unused file, so that a killed
 * process leaves none behind.
 * @throws {DataDirectoryUnusable}
 */
export function lockDataDirectory(paths: DataPaths): DirectoryLock {
  checkRestored(paths);
  const { root, log } = paths;
  ensureUsable(root, root, log);
  const ownerPath = join(root, 'owner.json');
  let lock: DirectoryLock | undefined;
  try {
    lock = lockFile(join(root, 'lock.db'));
    if (lock !== undefined) writeOwner(ownerPath);
  } catch (error) {
    lock?.release();
    throw directoryUnusable(root, error);
  }
  if (lock !== undefined) return lock;
  throw new DataDirectoryUnusable(
    `The data directory ${root} is in use by ${ownerOf(ownerPath)}. Stop that process, or choose another directory with --data-dir.`,
  );
}

/**
 * @throws {DataDirectoryUnusable} if a restore into the directory is running or was interrupted. A
 * restore moves the log into place last.
 */
export function checkRestored({ root, log }: DataPaths): void {
  const unfinished = join(root, restoringName);
  if (!existsSync(unfinished) || existsSync(log)) return;
  throw new DataDirectoryUnusable(
    `${root} holds an unfinished restore. Wait for it if it is running. Otherwise repeat it, which continues it, or remove ${unfinished}.`,
  );
}

/**
 * Locks a file that is used for nothing else, and creates it if it is missing; undefined if another
 * process holds the lock.
 * @throws SQLite's errors.
 */
export function lockFile(path: string): DirectoryLock | undefined {
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(path, { timeout: 0 });
    lock.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (error) {
    lock?.close();
    if (isSqliteBusy(error)) return undefined;
    throw error;
  }
  const held = lock;
  heldLocks.add(held);
  return {
    release() {
      heldLocks.delete(held);
      held.close();
    },
  };
}

/**
 * Creates the directory if it is missing, durably.
 * @throws {DataDirectoryUnusable}
 */
export function createDataDirectory({ root }: DataPaths): void {
  ensureUsable(root, root);
}

/** Creates directories of the data directory `root` if they are missing. */
function ensureUsable(root: string, ...directories: readonly string[]): void {
  try {
    for (const directory of directories) {
      createDurably(directory);
      accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    }
  } catch (error) {
    throw directoryUnusable(root, error);
  }
}

/**
 * Creates the directory of the log if it is missing, for the user under which the server runs.
 * @throws the file system's error.
 */
export function createLogDirectory(paths: DataPaths): void {
  if (statSync(paths.log, { throwIfNoEntry: false })?.isDirectory() === true) return;
  createDurably(paths.log);
  chownToOwner(paths, paths.log);
}

/** If this process runs as root: changes a path's owner to the directory's, under which the server runs. */
export function chownToOwner({ root }: DataPaths, path: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(root);
  if (uid !== 0) chownSync(path, uid, gid);
}

/** A power failure must not remove the directory and everything acknowledged in it. */
function createDurably(path: string): void {
  makeDirectories(path, 0o750, (parent) => nodeFileSystem.syncDirectory(parent));
}

/** Only for the error message of a second process; the lock decides. */
function writeOwner(path: string): void {
  const owner = { pid: process.pid, started_at: new Date().toISOString() };
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  writeFileSync(temporary, `${JSON.stringify(owner)}\n`);
  renameSync(temporary, path);
}

function ownerOf(path: string): string {
  try {
    const owner = JSON.parse(readFileSync(path, 'utf8')) as { pid?: unknown; started_at?: unknown };
    return `process ${String(owner.pid)} (running since ${String(owner.started_at)})`;
  } catch {
    return 'another process';
  }
}

export function directoryUnusable(
  root: string,
  error: unknown,
  lock = 'lock.db',
): DataDirectoryUnusable {
  const cause = error as NodeJS.ErrnoException;
  const isNoLock = ['corrupt', 'cannotOpen'].includes(sqliteFailure(error) ?? '');
  const reason = isNoLock
    ? `${lock} in it is not a lock file (${cause.message}); remove that file`
    : (reasons[sqliteFailure(error) === 'full' ? 'ENOSPC' : (cause.code ?? '')] ?? cause.message);
  return new DataDirectoryUnusable(
    `The data directory ${root} cannot be used: ${reason}. Correct that, or choose another directory with --data-dir.`,
    { cause },
  );
}

/**
 * The error to throw if a file of a data directory cannot be accessed: with the message `absent` if it
 * does not exist, with advice if this user lacks permission, otherwise `error` itself.
 */
export function readError(path: string, error: unknown, absent: string): Error {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return new Error(absent, { cause: error });
  if (code !== 'EACCES' && code !== 'EPERM') return error as Error;
  return new Error(
    `This user may not read ${path} (${code}). Run this as the user that the server runs as, or name another --data-dir.`,
    { cause: error },
  );
}

const reasons: Record<string, string> = {
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EROFS: 'its file system is read-only',
  ENOTDIR: 'a part of that path is a file',
  EEXIST: 'a part of that path is a file, or a link without a target',
  ENOENT: 'it cannot be created there',
  ENOSPC: 'the disk is full',
  EMFILE: 'this process may not open more files (ulimit -n)',
  ENFILE: 'this machine may not open more files',
};
