import {
  scopes as allScopes,
  tokenCharactersMax,
  tokenHash,
  type RateLimit,
  type Scope,
  type Token,
} from './token.ts';
import type { Problem } from '../domain/problem.ts';
import { RateLimiter } from './rate-limiter.ts';

export type AccessDecision = AccessGranted | AccessDenied;

export interface AccessGranted {
  /** The name of the token; empty if no token is required. */
  readonly caller: string;
  readonly rate?: RateLimit | undefined;
  readonly problem?: never;
}

export interface AccessDenied {
  readonly problem: Problem;
  /** The parameters of `WWW-Authenticate` after the realm. */
  readonly challenge?: string | undefined;
}

/** Authenticates and authorises requests. Called once for each request. */
export interface Access {
  /** Whether requests without a token are refused. */
  requiresToken(): boolean;
  admit(
    authorization: string | undefined,
    scopes: readonly Scope[],
  ): AccessDecision | Promise<AccessDecision>;
}

/** Decides synchronously. */
export interface ImmediateAccess extends Access {
  admit(authorization: string | undefined, scopes: readonly Scope[]): AccessDecision;
  /** Undoes the rate limit of an admission, because `admit` will be called for the request again. */
  refund(admitted: AccessGranted): void;
}

/** Tokens by their hashes. */
export class TokenTable {
  /** Whether no token has ever been created. False after the last one is revoked. */
  readonly isUnset: boolean;
  readonly #tokens: ReadonlyMap<string, Token>;

  constructor(tokens: readonly Token[] | undefined) {
    this.isUnset = tokens === undefined;
    this.#tokens = new Map((tokens ?? []).map((token) => [token.sha256, token]));
  }

  get isEmpty(): boolean {
    return this.#tokens.size === 0;
  }

  /**
   * Finds a token by its text. The lookup is by hash, so its timing reveals nothing.
   */
  find(text: string): Token | undefined {
    return text.length > tokenCharactersMax ? undefined : this.#tokens.get(tokenHash(text));
  }
}

/** A remote store of tokens. */
export interface TokenSource {
  /** The cached tokens; they may be some minutes old. */
  known(): Promise<readonly Token[]>;
  /** Called for a token that the cached ones refuse: it may be newer than the cache. */
  refreshed(): Promise<readonly Token[]>;
}

/** Admits requests with a known token as `Authorization: Bearer …` (RFC 6750). */
export function tokenAccess(source: TokenSource, now: () => number = Date.now): Access {
  let known: readonly Token[] = [];
  let table = new TokenTable(known);
  function admitWith(
    tokens: readonly Token[],
    authorization: string | undefined,
    scopes: readonly Scope[],
  ): AccessDecision {
    if (tokens !== known) {
      known = tokens;
      table = new TokenTable(known);
    }
    return admitByToken(table, authorization, scopes, now());
  }
  return {
    requiresToken: () => true,
    async admit(authorization, scopes) {
      const first = admitWith(await source.known(), authorization, scopes);
      if (first.problem === undefined || bearerToken(authorization) === undefined) return first;
      const tokens = await source.refreshed();
      return tokens === known ? first : admitWith(tokens, authorization, scopes);
    },
  };
}

interface ServerAccessOptions {
  /** The current tokens. */
  readonly tokens: () => TokenTable;
  /** Whether access is open until the first token is created. */
  readonly isOpenWithoutTokens: boolean;
  /**
   * The default rate limit: for tokens without their own, and for all requests together in open access.
   */
  readonly rate?: RateLimit | undefined;
  readonly now?: () => number;
  readonly limiter?: RateLimiter;
}

/** Access control for one process: by token once one exists, with a rate limit per caller. */
export function serverAccess(options: ServerAccessOptions): ImmediateAccess {
  const { tokens, isOpenWithoutTokens, now = Date.now, limiter = new RateLimiter() } = options;
  const openGrant: AccessGranted = { caller: '', rate: options.rate };
  return {
    requiresToken: () => !(isOpenWithoutTokens && tokens().isUnset),
    admit(authorization, scopes) {
      const table = tokens();
      const admission =
        isOpenWithoutTokens && table.isUnset
          ? openGrant
          : admitByToken(table, authorization, scopes, now(), options.rate);
      if (admission.problem !== undefined || admission.rate === undefined) return admission;
      const seconds = limiter.take(admission.caller, admission.rate);
      return seconds === 0 ? admission : tooManyRequests(admission.rate, seconds);
    },
    refund({ caller, rate }) {
      if (rate !== undefined) limiter.refund(caller, rate);
    },
  };
}

/** Access without authentication. */
export const openAccess: ImmediateAccess = {
  requiresToken: () => false,
  admit: () => anonymous,
  refund: () => undefined,
};

const anonymous: AccessGranted = { caller: '' };

function bearerToken(authorization = ''): string | undefined {
  return /^bearer +([!-~]+) *$/i.exec(authorization)?.[1];
}

function admitByToken(
  table: TokenTable,
  authorization: string | undefined,
  scopes: readonly Scope[],
  now: number,
  rate?: RateLimit,
): AccessDecision {
  const text = bearerToken(authorization);
  if (text === undefined)
    return { problem: unauthorized('Send a bearer token: Authorization: Bearer TOKEN.') };
  const token = table.find(text);
  if (token === undefined) return invalidToken('The token is unknown or revoked.');
  if (token.expiresAt !== undefined && token.expiresAt <= now) {
    return invalidToken('The token has expired.');
  }
  if (scopes.some((scope) => token.for.includes(scope))) {
    return { caller: token.name, rate: token.rate ?? rate };
  }
  const detail = `The token has the scope ${token.for.join(' and ')}; this request needs ${scopes.join(' or ')}.`;
  return {
    problem: { code: 'forbidden', detail },
    challenge: `error="insufficient_scope", scope="${scopes.join(' ')}"`,
  };
}

/** For routes that accept any token. */
export const anyScope = allScopes;
export const ingestScope: readonly Scope[] = ['ingest'];
export const replayScope: readonly Scope[] = ['replay'];

function invalidToken(detail: string): AccessDenied {
  return { problem: unauthorized(detail), challenge: 'error="invalid_token"' };
}

function unauthorized(detail: string): Problem {
  return { code: 'unauthorized', detail };
}

function tooManyRequests({ perSecond, burst }: RateLimit, retryAfterSeconds: number): AccessDenied {
  const detail = `Your requests exceed your rate limit of ${perSecond} requests per second (${burst} at once). Send this request again later.`;
  return { problem: { code: 'too_many_requests', detail, retryAfterSeconds } };
}
