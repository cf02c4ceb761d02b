import { hash } from 'node:crypto';

import { isKnown } from '../../pipeline/stats.ts';
import { browserHeaders, problemAnswer, type Answer, type BytesAnswer } from './answer.ts';
import { namesCoding, readIfNoneMatch } from './negotiation.ts';

type PageEncoding = 'identity' | 'gzip' | 'br';

/** A static file of the dashboard. It contains no data, so it needs no token. */
export interface Page {
  readonly contentType: string;
  /** Whether the name contains a hash of the content, so that it can be cached forever. */
  readonly isForever: boolean;
  /** The content in each available encoding; identity is always available. */
  readonly bodies: Readonly<Partial<Record<PageEncoding, Uint8Array<ArrayBuffer>>>> & {
    readonly identity: Uint8Array<ArrayBuffer>;
  };
}

/** By URL path. */
export type Pages = ReadonlyMap<string, Page>;

/** Allows scripts, styles and data from this origin only, and nothing inline. */
const pagePolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');

/** The policy of a page without scripts that has one inline style and loads nothing. */
export function scriptlessPolicy(style: string, formAction: "'none'" | "'self'"): string {
  return [
    "default-src 'none'",
    `style-src 'sha256-${hash('sha256', style, 'base64')}'`,
    "base-uri 'none'",
    `form-action ${formAction}`,
    "frame-ancestors 'none'",
  ].join('; ');
}

const etags = new WeakMap<Uint8Array, string>();

/** Answers GET and HEAD of a page. `header` returns request headers. */
export function pageAnswer(
  { contentType, isForever, bodies }: Page,
  header: (name: string) => string | undefined,
): Answer | BytesAnswer {
  const encoding = encodingFor(header('accept-encoding'), Object.keys(bodies));
  const body = bodies[encoding] ?? bodies.identity;
  const etag = etagOf(body);
  const known = readIfNoneMatch(header('if-none-match'));
  const headers = {
    ...browserHeaders,
    'content-security-policy': pagePolicy,
    'content-type': contentType,
    'cache-control': isForever ? 'public, max-age=31536000, immutable' : 'no-cache',
    vary: 'Accept-Encoding',
    etag: `"${etag}"`,
  };
  if (isKnown(known, etag)) return { status: 304, headers, body: '' };
  if (encoding === 'identity') return { status: 200, headers, body };
  return { status: 200, headers: { ...headers, 'content-encoding': encoding }, body };
}

/** The answer if the dashboard is not built: a link to the plain page. */
export function missingPage(path: string): Answer {
  if (path !== '/') {
    return problemAnswer({ code: 'not_found', detail: `There is no resource at ${path}.` });
  }
  return {
    status: 200,
    headers: { ...browserHeaders, 'content-type': 'text/html; charset=utf-8' },
    body:
      '<!doctype html><html lang="en"><meta charset="utf-8"><title>Device pipeline</title>' +
      '<h1>Device pipeline</h1><p>The dashboard is not built. Run <code>npm run build:dashboard</code> ' +
      `and restart the server. The <a href="stats-html?date=${new Date().toISOString().slice(0, 10)}">plain page</a> shows the counts of one day.</p></html>`,
  };
}

function etagOf(body: Uint8Array): string {
  let etag = etags.get(body);
  if (etag === undefined) {
    etag = hash('sha256', body, 'base64url').slice(0, 22);
    etags.set(body, etag);
  }
  return etag;
}

/** The smallest encoding that the client accepts. Source: RFC 9110, 12.5.3. */
function encodingFor(accepted: string | undefined, there: readonly string[]): PageEncoding {
  const known: readonly PageEncoding[] = ['br', 'gzip'];
  return known.find((name) => there.includes(name) && namesCoding(accepted, name)) ?? 'identity';
}
