import { randomBytes } from 'node:crypto';
import {
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  type BigIntStats,
} from 'node:fs';
import { join } from 'node:path';

import {
  readTokenEntry,
  tokenEntry,
  tokenEntryForm,
  type Token,
} from '../../domain/access-token.ts';
import {
  DataDirectoryUnusable,
  lockFile,
  makeDataDirectory,
  unusable,
  type DataPaths,
  type DirectoryLock,
} from './data-directory.ts';
import { nodeFileSystem } from './file-system.ts';

/** So many tokens a data directory has at the most. */
export const tokensMax = 1_000;
const fileBytesMax = 1024 * 1024;

/** How long another command that changes the tokens is waited for. */
const lockMsMax = 5_000;
const lockAgainMs = 20;

interface Remedy {
  readonly cause?: unknown;
  readonly remedy?: string;
}

/** The file with the tokens cannot be used; the message says why, and quotes nothing of it. */
export class TokenFileUnusable extends Error {
  override readonly name = 'TokenFileUnusable';

  constructor(
    what: string,
    { cause, remedy = 'Mend it, or move it away and make new tokens.' }: Remedy = {},
  ) {
    super(`${what} ${remedy}`, { cause });
  }
}

/** There are as many tokens as there may be. */
export class TooManyTokens extends Error {
  override readonly name = 'TooManyTokens';
}

/**
 * The tokens of a data directory; undefined where it has no file of them.
 * @throws {TokenFileUnusable}
 */
export function readTokenFile({ tokens: path }: DataPaths): readonly Token[] | undefined {
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
    const isOfAnother = code === 'EACCES' || code === 'EPERM';
    throw new TokenFileUnusable(`${path} cannot be read (${code ?? 'unknown error'}).`, {
      cause: error,
      ...(isOfAnother && { remedy: 'Give this user the right to, or run this as its owner.' }),
    });
  }
  return readDocument(path, text);
}

/** Tells one state of the file from another; undefined where there is none. */
export function tokenFileState({ tokens: path }: DataPaths): string | undefined {
  let stats: BigIntStats | undefined;
  try {
    stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch (error) {
    // What is wrong is told by who reads it.
    return (error as NodeJS.ErrnoException).code;
  }
  return stats && [stats.dev, stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].join(' ');
}

/**
 * Changes the tokens, durably and as one step, whoever else changes or reads them. Makes the
 * directory where it is missing.
 * @throws {TokenFileUnusable | TooManyTokens | DataDirectoryUnusable}, and what `change` throws; nothing is
 * changed then.
 */
export function changeTokens(
  paths: DataPaths,
  change: (tokens: readonly Token[]) => readonly Token[],
): void {
  makeDataDirectory(paths);
  const lock = takeLock(paths);
  try {
    const tokens = change(readTokenFile(paths) ?? []);
    if (tokens.length > tokensMax) {
      throw new TooManyTokens(
        `A data directory has at most ${tokensMax} tokens. Revoke some that are not used any more.`,
      );
    }
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

/** Whoever reads finds the old content or the new one, after a power failure too. */
function write(paths: DataPaths, text: string): void {
  const temporary = `${paths.tokens}.${randomBytes(4).toString('hex')}`;
  try {
    const descriptor = openSync(temporary, 'wx', 0o600);
    try {
      writeFileSync(descriptor, text);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    giveToOwner(paths, temporary);
    renameSync(temporary, paths.tokens);
    nodeFileSystem.syncDirectory(paths.root);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw unusable(paths.root, error);
  }
}

function takeLock(paths: DataPaths): DirectoryLock {
  const path = join(paths.root, 'tokens-lock.db');
  const deadline = performance.now() + lockMsMax;
  for (;;) {
    let lock: DirectoryLock | undefined;
    try {
      lock = lockFile(path);
      if (lock !== undefined) giveToOwner(paths, path);
    } catch (error) {
      lock?.release();
      throw unusable(paths.root, error, 'tokens-lock.db');
    }
    if (lock !== undefined) return lock;
    if (performance.now() > deadline) {
      throw new DataDirectoryUnusable(
        `Another command is changing the tokens of ${paths.root}. Try again when it has ended.`,
      );
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockAgainMs);
  }
}

/** What root makes must be of use to the user under whom the server runs. */
function giveToOwner({ root }: DataPaths, path: string): void {
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = statSync(root);
  if (uid !== 0) chownSync(path, uid, gid);
}
