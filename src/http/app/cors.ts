import { browserHeaders, type Answer } from './answer.ts';

/** Origins whose pages may call the API; `*`: any origin; empty: none. */
export type CrossOrigins = readonly string[];

const allowedHeaders =
  'Authorization, Content-Type, Content-Encoding, Idempotency-Key, If-None-Match, Prefer, X-Request-Id';
const exposedHeaders =
  'ETag, Location, Retry-After, X-Request-Id, Pipeline-Counted-Through, Pipeline-Pending, Pipeline-Dead-Letters';

/**
 * The CORS headers of a response. `Vary: Origin` is for caches, so POST responses without an origin omit
 * it.
 */
export function corsHeaders(
  origins: CrossOrigins,
  method: string,
  origin: string | undefined,
): Readonly<Record<string, string>> {
  if (origins.length === 0 || (origin === undefined && method === 'POST')) return {};
  const isAny = origins.includes('*');
  const vary: Record<string, string> = isAny ? {} : { vary: 'Origin' };
  if (origin === undefined || !(isAny || origins.includes(origin))) return vary;
  return {
    'access-control-allow-origin': isAny ? '*' : origin,
    'access-control-expose-headers': exposedHeaders,
    ...vary,
  };
}

/**
 * The response to a preflight request (Fetch standard, "CORS-preflight request"). Undefined for other
 * requests, and for origins that are not allowed.
 */
export function preflightAnswer(
  origins: CrossOrigins,
  method: string,
  header: (name: string) => string | undefined,
): Answer | undefined {
  if (method !== 'OPTIONS' || header('access-control-request-method') === undefined) {
    return undefined;
  }
  const allowed = corsHeaders(origins, method, header('origin'));
  if (allowed['access-control-allow-origin'] === undefined) return undefined;
  const answers = {
    'access-control-allow-methods': 'GET, HEAD, POST',
    'access-control-allow-headers': allowedHeaders,
    'access-control-max-age': '600',
  };
  return { status: 204, headers: { ...browserHeaders, ...allowed, ...answers }, body: '' };
}

/**
 * Whether a text is an origin as browsers send it (RFC 6454), or `*`. `null` is not allowed: any
 * page can have that origin.
 */
export function isOriginOrAny(text: string): boolean {
  if (text === '*') return true;
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === text;
}
