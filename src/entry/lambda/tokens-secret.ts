import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';

import {
  readTokenEntry,
  scopes,
  tokenEntryForm,
  tokenHash,
  type Token,
} from '../../domain/access-token.ts';
import { tokenAccess, type Access } from '../../http/access.ts';
import { Unavailable } from '../../pipeline/ports.ts';
import { errorDetails, requestHandler } from './clients.ts';
import type { Telemetry } from './telemetry.ts';

/** A token that is added or taken away is known everywhere after this time. */
const refreshMs = 60_000;

/**
 * Tokens as the secret has them: read when first needed, and again from time to time. What was
 * read before stays in force where it cannot be read again.
 */
export function secretAccess(secretArn: string, telemetry: Telemetry): Access {
  const client = telemetry.traced(new SecretsManagerClient({ requestHandler }));
  let known: { readonly at: number; readonly tokens: readonly Token[] } | undefined;
  return tokenAccess(async () => {
    if (known !== undefined && known.at + refreshMs > Date.now()) return known.tokens;
    try {
      const { SecretString } = await client.send(
        new GetSecretValueCommand({ SecretId: secretArn }),
      );
      known = { at: Date.now(), tokens: readTokens(SecretString ?? '') };
    } catch (error) {
      telemetry.log('ERROR', 'the tokens cannot be read', errorDetails(error));
      if (known === undefined) {
        throw new Unavailable('storage_failed', 'The tokens cannot be read now.', { cause: error });
      }
      known = { ...known, at: Date.now() };
    }
    return known.tokens;
  });
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
