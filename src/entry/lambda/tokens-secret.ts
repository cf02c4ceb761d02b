import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';

import {
  readTokenEntry,
  scopes,
  tokenEntryForm,
  tokenHash,
  type Token,
} from '../../auth/access-token.ts';
import { tokenAccess, type Access, type TokenSource } from '../../http/app/access.ts';
import { RateLimiter } from '../../http/app/rate-limiter.ts';
import { Unavailable } from '../../pipeline/ports.ts';
import { errorDetails, requestHandler } from './clients.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

/** A token that is taken away is refused everywhere after this time. Each read is billed. */
export const refreshMs = 300_000;
/** After a failed read, the next. */
const retryMs = 60_000;
/** How often a refused token may have the secret read: its sender need not be known to us. */
const newerRate = { perSecond: 1 / 60, burst: 5 };

/** Admits by the tokens of the secret. */
export function secretAccess(secretArn: string, telemetry: Telemetry): Access {
  const client = telemetry.traced(new SecretsManagerClient({ requestHandler }));
  const command = new GetSecretValueCommand({ SecretId: secretArn });
  const source = cachedTokens({
    read: async () => readTokens((await client.send(command)).SecretString ?? ''),
    onFailure: (error) => telemetry.log('ERROR', 'the tokens cannot be read', errorDetails(error)),
  });
  return tokenAccess(source);
}

export interface CachedTokensOptions {
  readonly read: () => Promise<readonly Token[]>;
  readonly onFailure: (error: unknown) => void;
  readonly now?: () => number;
}

/**
 * Reads the tokens when they are first needed, again after `refreshMs`, and at once, up to a rate,
 * for a token that is refused. Where they cannot be read again, those of the last time stay in force.
 */
export function cachedTokens({
  read,
  onFailure,
  now = Date.now,
}: CachedTokensOptions): TokenSource {
  const limiter = new RateLimiter(now);
  let tokens: readonly Token[] | undefined;
  let dueAt = 0;

  async function readAgain(): Promise<readonly Token[]> {
    try {
      tokens = await read();
      dueAt = now() + refreshMs;
    } catch (error) {
      onFailure(error);
      if (tokens === undefined) {
        throw new Unavailable('storage_failed', 'The tokens cannot be read now.', { cause: error });
      }
      if (dueAt <= now()) dueAt = now() + retryMs;
    }
    return tokens;
  }
  return {
    known: async () => (tokens !== undefined && now() < dueAt ? tokens : readAgain()),
    refreshed: async () =>
      tokens !== undefined && limiter.take('', newerRate) > 0 ? tokens : readAgain(),
  };
}

/**
 * Reads `{"tokens":[…],"initial"?}`, entries as a data directory has them. `initial`
 * is a token in clear for everything, with which a stack begins; its owner takes it away.
 * @throws where it is not of that form: who has a token must not be told that it is unknown.
 */
export function readTokens(secret: string): Token[] {
  let document: unknown;
  try {
    document = JSON.parse(secret);
  } catch {
    throw new Error('The secret with the tokens is not JSON.');
  }
  const { tokens = [], initial } = document as { tokens?: unknown; initial?: unknown };
  if (!Array.isArray(tokens)) throw new Error('In the secret, "tokens" is not a list.');
  const read = tokens.map(readToken);
  if (typeof initial !== 'string' || initial === '') return read;
  const first = { name: 'initial', sha256: tokenHash(initial), for: scopes };
  return [...read, { ...first, expiresAt: undefined }];
}

function readToken(value: unknown, at: number): Token {
  const token = readTokenEntry(value);
  if (token !== undefined) return token;
  throw new Error(`In the secret, token ${at} is not ${tokenEntryForm}.`);
}
