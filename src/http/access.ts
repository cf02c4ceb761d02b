import { hash, timingSafeEqual } from 'node:crypto';

import type { Problem } from '../domain/problem.ts';

/** What a token may be for: to send batches, or to read counters. */
export type Scope = 'ingest' | 'read';

export interface Token {
  readonly name: string;
  /** Of the token's text, in hexadecimal. The text itself is not kept. */
  readonly sha256: string;
  readonly for: readonly Scope[];
  /** Milliseconds since 1970; undefined: no end. */
  readonly expiresAt: number | undefined;
}

export type Admission =
  { readonly caller: string; readonly problem?: never } | { readonly problem: Problem };

/** Says who asks, and whether they may do one of these things. */
export interface Access {
  admit(authorization: string | undefined, scopes: readonly Scope[]): Promise<Admission>;
}

/**
 * Admits whoever shows one of the tokens as `Authorization: Bearer …` (RFC 6750). The tokens are
 * asked for at each request, so that they can change while it runs.
 */
export function tokenAccess(
  tokens: () => Promise<readonly Token[]>,
  now: () => number = Date.now,
): Access {
  return {
    async admit(authorization = '', scopes) {
      const [, text] = /^bearer +([!-~]+) *$/i.exec(authorization) ?? [];
      if (text === undefined) return unauthorized('Send a token: Authorization: Bearer ….');
      const token = findToken(await tokens(), text);
      if (token === undefined) return unauthorized('The token is not known here.');
      if (token.expiresAt !== undefined && token.expiresAt <= now()) {
        return unauthorized('The token has expired.');
      }
      if (scopes.some((scope) => token.for.includes(scope))) return { caller: token.name };
      const detail = `The token is for ${token.for.join(' and ')}, and this takes one for ${scopes.join(' or ')}.`;
      return { problem: { code: 'forbidden', detail } };
    },
  };
}

/** Compares with every token, in the same time for each. */
function findToken(tokens: readonly Token[], text: string): Token | undefined {
  const shown = hash('sha256', text, 'buffer');
  let found: Token | undefined;
  for (const token of tokens) {
    const known = Buffer.from(token.sha256, 'hex');
    if (known.length === shown.length && timingSafeEqual(known, shown)) found = token;
  }
  return found;
}

function unauthorized(detail: string): Admission {
  return { problem: { code: 'unauthorized', detail } };
}
