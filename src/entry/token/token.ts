import { randomBytes } from 'node:crypto';
import { statSync, writeSync } from 'node:fs';

import { tokenEntry, tokenHash, type Token } from '../../auth/token.ts';
import { dataPaths, readError } from '../../engines/embedded/data-directory.ts';
import { changeTokens, readTokenFile } from '../../engines/embedded/tokens/token-file.ts';
import { jsonText } from '../cli/terminal-text.ts';
import type { TokenCreateOptions } from './token-options.ts';

const secretBytes = 32;

/** Lets secret scanners recognise a leaked token. */
const prefix = 'dpl_';

/**
 * Creates a token and prints it to standard output. Only its hash is stored, so it cannot be shown
 * again. Returns the exit code.
 */
export function tokenCreate(options: TokenCreateOptions): number {
  const { dataDir, name, for: scopes, expires: expiresAt, rate: perSecond } = options;
  const { burst = Math.ceil(perSecond ?? 0) } = options;
  const rate = perSecond === undefined ? undefined : { perSecond, burst };
  const text = newToken();
  const token: Token = { name, sha256: tokenHash(text), for: scopes, expiresAt, rate };
  if (options.printEntry) {
    process.stdout.write(`${jsonText({ token: text, entry: tokenEntry(token) })}\n`);
    return 0;
  }
  const add = (tokens: readonly Token[]) => {
    if (tokens.some((known) => known.name === name)) {
      throw new Error(
        `The token ${name} exists already. Choose another --name, or replace it with \`token rotate\`.`,
      );
    }
    return [...tokens, token];
  };
  changeTokens(dataPaths(dataDir), add, () => print(text));
  explain(`${name}, for ${scopes.join(' and ')}${ending(token)}`);
  return 0;
}

interface TokenRotateOptions {
  dataDir: string;
  name: string;
  /** How long the old tokens remain valid. */
  overlapMs: number;
}

/** Creates another token of the same name and prints it like `tokenCreate`. */
export function tokenRotate({ dataDir, name, overlapMs }: TokenRotateOptions): number {
  const text = newToken();
  const endOfOld = Date.now() + overlapMs;
  checkIsThere(dataDir);
  const replace = (tokens: readonly Token[]) => {
    const latest = named(tokens, name).at(-1);
    if (latest === undefined) throw unknown(name);
    const kept = tokens
      .map((token) =>
        token.name === name
          ? { ...token, expiresAt: Math.min(token.expiresAt ?? Infinity, endOfOld) }
          : token,
      )
      .filter((token) => token.name !== name || (token.expiresAt ?? Infinity) > Date.now());
    return [...kept, { ...latest, sha256: tokenHash(text) }];
  };
  changeTokens(dataPaths(dataDir), replace, () => print(text));
  explain(`${name}; the old token expires at ${new Date(endOfOld).toISOString()}`);
  return 0;
}

/** Revokes all tokens of a name. */
export function tokenRevoke(dataDir: string, name: string): number {
  let left = 0;
  checkIsThere(dataDir);
  changeTokens(dataPaths(dataDir), (tokens) => {
    if (named(tokens, name).length === 0) throw unknown(name);
    const kept = tokens.filter((token) => token.name !== name);
    left = kept.length;
    return kept;
  });
  process.stdout.write(`revoked ${name}\n`);
  if (left === 0) {
    process.stderr.write(
      'No token is left, so every request is refused. Create another. To allow requests without tokens, stop the server and remove tokens.json and log/tokens-required.log.\n',
    );
  }
  return 0;
}

/** Prints the tokens without their texts, which are not stored. */
export function tokenList(dataDir: string, json: boolean): number {
  checkIsThere(dataDir);
  const tokens = readTokenFile(dataPaths(dataDir)) ?? [];
  for (const token of tokens) {
    const isExpired = token.expiresAt !== undefined && token.expiresAt <= Date.now();
    const { name, sha256, for: scopes, rate } = token;
    const limit =
      rate === undefined ? '' : `, ${rate.perSecond} per second (${rate.burst} at once)`;
    process.stdout.write(
      json
        ? `${jsonText({ ...tokenEntry(token), expired: isExpired })}\n`
        : `${name}  for ${scopes.join(' and ')}${ending(token, isExpired)}${limit}  sha256 ${sha256.slice(0, 12)}…\n`,
    );
  }
  if (tokens.length === 0 && !json) process.stdout.write('no tokens\n');
  return 0;
}

/** Without this check, a misspelt directory would look like one without tokens. */
function checkIsThere(dataDir: string): void {
  const { root, tokens } = dataPaths(dataDir);
  const absent = `There is no data directory ${root}. Start serve there, or give another --data-dir.`;
  try {
    if (statSync(root).isDirectory()) return;
  } catch (error) {
    throw readError(tokens, error, absent);
  }
  throw new Error(absent);
}

function newToken(): string {
  return `${prefix}${randomBytes(secretBytes).toString('base64url')}`;
}

/**
 * Writes only the token to standard output, so that a shell can assign it to a variable. Called before
 * the token is stored: a token that was never shown would lock out clients without tokens.
 */
function print(text: string): void {
  try {
    writeSync(1, `${text}\n`);
  } catch (error) {
    const { message } = error as Error;
    throw new Error(
      `The token could not be written to standard output (${message}), so nothing was changed. Run the command again with a writable standard output.`,
      { cause: error },
    );
  }
}

function explain(what: string): void {
  process.stderr.write(
    `${what}. It cannot be shown again. A running server accepts it within a second.\n`,
  );
}

function named(tokens: readonly Token[], name: string): readonly Token[] {
  return tokens.filter((token) => token.name === name);
}

function unknown(name: string): Error {
  return new Error(`There is no token ${name}. \`token list\` shows all tokens.`);
}

function ending({ expiresAt }: Token, isExpired = false): string {
  if (expiresAt === undefined) return '';
  return `, ${isExpired ? 'expired' : 'until'} ${new Date(expiresAt).toISOString()}`;
}
