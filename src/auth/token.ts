import { hash } from 'node:crypto';

/**
 * The scopes of a token: send batches, read counters and metrics, or replay batches of another
 * installation (the sender of a replay chooses ids, times, callers and over-limit items).
 */
export type Scope = 'ingest' | 'read' | 'replay';

export const scopes: readonly Scope[] = ['ingest', 'read', 'replay'];

/** A rate limit: requests per second on average, and requests at once. Both are above 0. */
export interface RateLimit {
  readonly perSecond: number;
  readonly burst: number;
}

export interface Token {
  /** The caller. Idempotency keys and rate limits are per name; two tokens may share one. */
  readonly name: string;
  /** The SHA-256 of the token's text, in lower-case hexadecimal. The text itself is not stored. */
  readonly sha256: string;
  readonly for: readonly Scope[];
  /** Milliseconds since 1970; undefined: never. */
  readonly expiresAt: number | undefined;
  /** Undefined: the server's default. */
  readonly rate?: RateLimit | undefined;
}

/** The longest token, which limits the cost of hashing one. */
export const tokenCharactersMax = 512;

export const rateMax = 1_000_000;

/** Whether a name is 1 to 64 characters of printable ASCII without spaces at either end. */
export function isTokenName(name: string): boolean {
  return /^[!-~](?:[ -~]{0,62}[!-~])?$/.test(name);
}

/** The stored hash of a token's text. */
export function tokenHash(text: string): string {
  return hash('sha256', text);
}

/** The form in which tokens are stored, in a data directory and in a secret on AWS. */
export function tokenEntry({ name, sha256, for: given, expiresAt, rate }: Token): object {
  return {
    name,
    sha256,
    for: given,
    ...(expiresAt !== undefined && { expires: new Date(expiresAt).toISOString() }),
    ...(rate !== undefined && { rate: rate.perSecond, burst: rate.burst }),
  };
}

export const tokenEntryForm =
  '{"name" (1 to 64 characters of printable ASCII),"sha256" (64 hexadecimal digits),"for":["ingest","read","replay"],"expires" (a date-time; optional),"rate" and "burst" (requests per second and at once; optional)}';

/** Reads what `tokenEntry` writes; undefined if it is invalid. */
export function readTokenEntry(value: unknown): Token | undefined {
  const {
    name,
    sha256,
    for: given,
    expires,
    rate,
    burst,
  } = Object(value) as Record<string, unknown>;
  const expiresAt = typeof expires === 'string' ? Date.parse(expires) : undefined;
  const isValid =
    typeof name === 'string' &&
    isTokenName(name) &&
    typeof sha256 === 'string' &&
    /^[0-9a-f]{64}$/i.test(sha256) &&
    Array.isArray(given) &&
    given.every((scope) => scopes.includes(scope as Scope)) &&
    (expires === undefined || Number.isFinite(expiresAt)) &&
    (rate === undefined ? burst === undefined : isRate(rate) && isBurst(burst));
  if (!isValid) return undefined;
  return {
    name,
    sha256: sha256.toLowerCase(),
    for: given as Scope[],
    expiresAt,
    ...(rate !== undefined && { rate: { perSecond: rate as number, burst: burst as number } }),
  };
}

function isRate(value: unknown): boolean {
  return typeof value === 'number' && value > 0 && value <= rateMax;
}

function isBurst(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) <= rateMax;
}
