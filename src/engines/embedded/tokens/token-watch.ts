import type { Token } from '../../../auth/token.ts';
import { DataDirectoryUnusable, type DataPaths } from '../data-directory.ts';
import {
  readTokenFile,
  TokenFileMissing,
  TokenFileUnusable,
  tokenFileState,
} from './token-file.ts';
import { requireTokens } from './token-marker.ts';

/** Interval, in milliseconds, at which the file is checked for changes. */
const pollMs = 500;

export interface TokenWatch {
  close(): void;
}

/**
 * Polls the token file and calls `onTokens` before it returns and after each change, with undefined
 * if no tokens were ever created. While the file cannot be read, the previous tokens stay valid;
 * `onProblem` is called once per state of the file. Creates the marker (`token-marker`) if there
 * are tokens, however the file was created.
 *
 * This folder: `token-file` reads and changes tokens.json under a lock, `token-marker` makes its
 * loss noticeable, and this file keeps a running server up to date.
 * @throws {TokenFileUnusable | TokenFileMissing | DataDirectoryUnusable} if the first read fails.
 */
export function watchTokens(
  paths: DataPaths,
  onTokens: (tokens: readonly Token[] | undefined) => void,
  onProblem: (problem: string) => void,
): TokenWatch {
  // Read the state before the content: the next poll then notices a change in between.
  let state = tokenFileState(paths);
  const tokens = readTokenFile(paths);
  if (tokens !== undefined) requireTokens(paths);
  onTokens(tokens);

  const look = () => {
    const current = tokenFileState(paths);
    if (current === state) return;
    state = current;
    // Moving the file away must not open the server to everyone.
    if (current === undefined) onProblem(`${paths.tokens} is missing. Put it back. ${before}`);
    else reloadTokens(paths, onTokens, onProblem);
  };
  const timer = setInterval(look, pollMs).unref();
  return { close: () => clearInterval(timer) };
}

function reloadTokens(
  paths: DataPaths,
  onTokens: (tokens: readonly Token[] | undefined) => void,
  onProblem: (problem: string) => void,
): void {
  try {
    const tokens = readTokenFile(paths);
    if (tokens === undefined) return;
    onTokens(tokens);
    requireTokens(paths);
  } catch (error) {
    if (error instanceof DataDirectoryUnusable) onProblem(error.message);
    else if (error instanceof TokenFileUnusable || error instanceof TokenFileMissing)
      onProblem(`${error.message} ${before}`);
    else throw error;
  }
}

const before = 'Until then the previous tokens stay valid.';
