import { browserHeaders, type Answer } from './answer.ts';

/** Origins whose pages may ask; `*` alone: those of any. Empty: none. */
export type CrossOrigins = readonly string[];

const allowedHeaders =
  'Authorization, Content-Type, Content-Encoding, Idempotency-Key, If-None-Match, Prefer, X-Request-Id';
const exposedHeaders =
  'ETag, Location, Retry-After, X-Request-Id, Pipeline-Counted-Through, Pipeline-Pending, Pipeline-Dead-Letters';

/**
 * What tells a browser that a page of this origin may see the answer; nothing for others. That the
 * answer depends on the origin is for caches, which keep none of a POST.
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
 * The answer to a browser's question whether a page may ask (Fetch standard, "CORS-preflight
 * request"). Undefined where it is no such question, or of an origin that may not.
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
 * Whether a text is an origin as browsers send it (RFC 6454), or `*`. `null` is none: any page
 * can come from it.
 */
export function isOriginOrAny(text: string): boolean {
  if (text === '*') return true;
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === text;
}
