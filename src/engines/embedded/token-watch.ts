import type { Token } from '../../domain/access-token.ts';
import type { DataPaths } from './data-directory.ts';
import { readTokenFile, TokenFileUnusable, tokenFileState } from './token-file.ts';

/** A change is known after so long. */
const lookEveryMs = 500;

export interface TokenWatch {
  close(): void;
}

/**
 * Looks at the tokens from time to time and hands them over when they have changed, the first
 * time before it returns; undefined where nobody has made one. While they cannot be read, those of before stay in force: `onProblem` is
 * told once for each state of the file.
 * @throws {TokenFileUnusable} where they cannot be read at first.
 */
export function watchTokens(
  paths: DataPaths,
  onTokens: (tokens: readonly Token[] | undefined) => void,
  onProblem: (problem: string) => void,
): TokenWatch {
  // Before the content: what changes between is seen at the next look.
  let state = tokenFileState(paths);
  onTokens(readTokenFile(paths));

  const look = () => {
    const current = tokenFileState(paths);
    if (current === state) return;
    state = current;
    try {
      const tokens = readTokenFile(paths);
      // Who moves the file away must not so open the server to all.
      if (tokens === undefined) onProblem(`${paths.tokens} is gone. Put it back. ${before}`);
      else onTokens(tokens);
    } catch (error) {
      if (!(error instanceof TokenFileUnusable)) throw error;
      onProblem(`${error.message} ${before}`);
    }
  };
  const timer = setInterval(look, lookEveryMs).unref();
  return { close: () => clearInterval(timer) };
}

const before = 'Until then the tokens of before stay in force.';
