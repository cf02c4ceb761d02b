import type { Token } from '../../../auth/access-token.ts';
import { DataDirectoryUnusable, type DataPaths } from '../data-directory.ts';
import {
  readTokenFile,
  TokenFileMissing,
  TokenFileUnusable,
  tokenFileState,
} from './token-file.ts';
import { requireTokens } from './token-marker.ts';

/** A change is known after so long. */
const pollMs = 500;

export interface TokenWatch {
  close(): void;
}

/**
 * Looks at the tokens from time to time and hands them over when they have changed, the first
 * time before it returns; undefined where none were ever made. While they cannot be read, those of before stay in force: `onProblem` is
 * called once for each state of the file. That there are tokens is noted beside the log, whichever
 * way the file came there.
 * @throws {TokenFileUnusable | TokenFileMissing | DataDirectoryUnusable} at first.
 */
export function watchTokens(
  paths: DataPaths,
  onTokens: (tokens: readonly Token[] | undefined) => void,
  onProblem: (problem: string) => void,
): TokenWatch {
  // Before the content: what changes between is seen at the next look.
  let state = tokenFileState(paths);
  const tokens = readTokenFile(paths);
  if (tokens !== undefined) requireTokens(paths);
  onTokens(tokens);

  const look = () => {
    const current = tokenFileState(paths);
    if (current === state) return;
    state = current;
    // Moving the file away must not open the server to all.
    if (current === undefined) onProblem(`${paths.tokens} is gone. Put it back. ${before}`);
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

const before = 'Until then the tokens of before stay in force.';
