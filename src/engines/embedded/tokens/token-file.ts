import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, statSync, type BigIntStats } from 'node:fs';
import { join } from 'node:path';

import { readTokenEntry, tokenEntry, tokenEntryForm, type Token } from '../../../auth/token.ts';
import {
  DataDirectoryUnusable,
  chownToOwner,
  lockFile,
  checkRestored,
  createDataDirectory,
  directoryUnusable,
  type DataPaths,
  type DirectoryLock,
} from '../data-directory.ts';
import { nodeFileSystem } from '../log/file-system.ts';
import { areTokensRequired, requireTokens, writeDurably } from './token-marker.ts';

/** Maximum number of tokens of a data directory. */
const tokensMax = 1_000;
const fileBytesMax = 1024 * 1024;

/** How long to wait for another command that changes the tokens. */
const lockWaitMsMax = 5_000;
const lockRetryMs = 20;

interface Remedy {
  readonly cause?: unknown;
  readonly remedy?: string;
}

/** The token file cannot be used; the message says why, without quoting its content. */
export class TokenFileUnusable extends Error {
  override readonly name = 'TokenFileUnusable';

  constructor(
    what: string,
    { cause, remedy = 'Repair it, or move it away and create new tokens.' }: Remedy = {},
  ) {
    super(`${what} ${remedy}`, { cause });
  }
}

/** The change would exceed the maximum number of tokens. */
class TooManyTokens extends Error {
  override readonly name = 'TooManyTokens';
}

/** Tokens were created, but their file is missing; the message says what to do. */
export class TokenFileMissing extends Error {
  override readonly name = 'TokenFileMissing';

  constructor({ root, tokens, tokensRequired }: DataPaths) {
    super(
      `${tokens} is missing, though tokens were created for this data directory. Restore it from a backup, or create new tokens with \`npx device-pipeline token create --data-dir ${root} --name NAME --for ingest,read\`. To let clients in without tokens, remove ${tokensRequired}.`,
    );
  }
}

/**
 * The tokens of a data directory; undefined if none were ever created.
 * @throws {TokenFileUnusable | TokenFileMissing}
 */
export function readTokenFile(paths: DataPaths): readonly Token[] | undefined {
  const tokens = readTokensIfAny(paths);
  if (tokens === undefined && isProtected(paths)) throw new TokenFileMissing(paths);
  return tokens;
}

/** @throws {TokenFileUnusable} if that is unknown: the server must not be open to everyone then. */
function isProtected(paths: DataPaths): boolean {
  try {
    return areTokensRequired(paths);
  } catch (error) {
    throw unreadable(paths.tokensRequired, error);
  }
}

function readTokensIfAny({ tokens: path }: DataPaths): readonly Token[] | undefined {
  let text: string;
  try {
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    if (size === undefined) return undefined;
    if (size > fileBytesMax) throw new TokenFileUnusable(`${path} is larger than 1 MiB.`);
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof TokenFileUnusable) throw error;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw unreadable(path, error);
  }
  return readDocument(path, text);
}

function unreadable(path: string, error: unknown): TokenFileUnusable {
  const { code = 'unknown error' } = error as NodeJS.ErrnoException;
  const isOfAnother = code === 'EACCES' || code === 'EPERM';
  return new TokenFileUnusable(`${path} cannot be read (${code}).`, {
    cause: error,
    ...(isOfAnother && {
      remedy: 'Give this user permission, or run the command as the owner of the file.',
    }),
  });
}

/** Identifies the state of the token file; undefined if there is none. */
export function tokenFileState({ tokens: path }: DataPaths): string | undefined {
  let stats: BigIntStats | undefined;
  try {
    stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    // Reading the file reports the error.
    return (error as NodeJS.ErrnoException).code;
  }
  return stats && [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' ');
}

/**
 * Changes the tokens, durably and atomically, also if other processes read or change them. Creates the
 * directory if it is missing.
 * @param beforeWrite is called when the change is possible
 * @throws {TokenFileUnusable | TooManyTokens | DataDirectoryUnusable}, and what `change` and
 *   `beforeWrite` throw; then nothing is changed.
 */
export function changeTokens(
  paths: DataPaths,
  change: (tokens: readonly Token[]) => readonly Token[],
  beforeWrite: () => void = () => undefined,
): void {
  checkRestored(paths);
  createDataDirectory(paths);
  const lock = acquireLock(paths);
  try {
    // `readTokenFile` would throw, but new tokens may replace a missing file.
    const tokens = change(readTokensIfAny(paths) ?? []);
    if (tokens.length > tokensMax) {
      throw new TooManyTokens(
        `A data directory has at most ${tokensMax} tokens. Revoke tokens that are not used any more.`,
      );
    }
    beforeWrite();
    // Create the marker first, so that the loss of the new file is noticed.
    requireTokens(paths);
    write(paths, `${JSON.stringify({ tokens: tokens.map(tokenEntry) }, null, 2)}\n`);
  } finally {
    lock.release();
  }
}

function readDocument(path: string, text: string): readonly Token[] {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new TokenFileUnusable(`${path} is not JSON.`);
  }
  const { tokens } = Object(document) as { tokens?: unknown };
  if (!Array.isArray(tokens)) throw new TokenFileUnusable(`${path} is not {"tokens":[…]}.`);
  if (tokens.length > tokensMax) {
    throw new TokenFileUnusable(`${path} has more than ${tokensMax} tokens.`);
  }
  return tokens.map((entry, at) => {
    const token = readTokenEntry(entry);
    if (token !== undefined) return token;
    throw new TokenFileUnusable(`In ${path}, token ${at} is not ${tokenEntryForm}.`);
  });
}

/** Replaces the file atomically, also with respect to power failures. */
function write(paths: DataPaths, text: string): void {
  const temporary = `${paths.tokens}.${randomBytes(4).toString('hex')}`;
  try {
    writeDurably(temporary, text, { flag: 'wx', mode: 0o600 });
    chownToOwner(paths, temporary);
    renameSync(temporary, paths.tokens);
    nodeFileSystem.syncDirectory(paths.root);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw directoryUnusable(paths.root, error);
  }
}

function acquireLock(paths: DataPaths): DirectoryLock {
  const path = join(paths.root, 'tokens-lock.db');
  const deadline = performance.now() + lockWaitMsMax;
  for (;;) {
    let lock: DirectoryLock | undefined;
    try {
      lock = lockFile(path);
      if (lock !== undefined) chownToOwner(paths, path);
    } catch (error) {
      lock?.release();
      throw directoryUnusable(paths.root, error, 'tokens-lock.db');
    }
    if (lock !== undefined) return lock;
    if (performance.now() > deadline) {
      throw new DataDirectoryUnusable(
        `Another command is changing the tokens of ${paths.root}. Try again when it has ended.`,
      );
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockRetryMs);
  }
}
