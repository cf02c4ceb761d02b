import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';

import { readTokenEntry, scopes, tokenEntryForm, tokenHash, type Token } from '../../auth/token.ts';
import { tokenAccess, type Access, type TokenSource } from '../../auth/check-access.ts';
import { RateLimiter } from '../../auth/rate-limiter.ts';
import { Unavailable } from '../../pipeline/ports.ts';
import { errorDetails, requestHandler } from './clients.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

/** The time after which a removed token is refused everywhere, in milliseconds. Each read is billed. */
export const refreshMs = 300_000;
/** The delay after a failed read, in milliseconds. */
const retryMs = 60_000;
/** How often refused tokens may cause a read: anyone can send them. */
const newerRate = { perSecond: 1 / 60, burst: 5 };

/** Authenticates by the tokens in the secret. */
export function secretAccess(secretArn: string, telemetry: Telemetry): Access {
  const client = telemetry.traced(new SecretsManagerClient({ requestHandler }));
  const command = new GetSecretValueCommand({ SecretId: secretArn });
  const source = cachedTokens({
    read: async () => readTokens((await client.send(command)).SecretString ?? ''),
    onFailure: (error) => telemetry.log('ERROR', 'the tokens cannot be read', errorDetails(error)),
  });
  return tokenAccess(source);
}

interface CachedTokensOptions {
  readonly read: () => Promise<readonly Token[]>;
  readonly onFailure: (error: unknown) => void;
  readonly now?: () => number;
}

/**
 * Reads the tokens at first use, again after `refreshMs`, and at once for an unknown token, up to a
 * rate. If a later read fails, the tokens of the last read stay in force.
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
        throw new Unavailable(
          'storage_failed',
          'The tokens cannot be read now. Send the request again after a moment.',
          { cause: error },
        );
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
 * Reads `{"tokens":[…],"initial"?}`; the entries have the form of a data directory's. `initial` is the
 * first token of a stack, in clear text and for all scopes; its owner removes it.
 * @throws if the form is another: a valid token must not be rejected for it.
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
