import { hash } from 'node:crypto';

import { isKnown } from '../../pipeline/stats.ts';
import { browserHeaders, problemAnswer, type Answer, type BytesAnswer } from './answer.ts';
import { namesCoding, readIfNoneMatch } from './negotiation.ts';

export type PageEncoding = 'identity' | 'gzip' | 'br';

/** A file that a browser may ask for without a token: it holds no data. */
export interface Page {
  readonly contentType: string;
  /** Its name says its content, so that a browser may keep it for good. */
  readonly isForever: boolean;
  /** The same content in each encoding that there is; identity there is always. */
  readonly bodies: Readonly<Partial<Record<PageEncoding, Uint8Array<ArrayBuffer>>>> & {
    readonly identity: Uint8Array<ArrayBuffer>;
  };
}

/** By the path of the URL. */
export type Pages = ReadonlyMap<string, Page>;

/** Scripts, styles and data come from here and from nowhere else; nothing is inline. */
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

/** For a page that runs no script and loads nothing, with one style in it. */
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

/** What answers GET and HEAD of a page. `header` gives the request's headers. */
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

/** Where the dashboard was not built there is still the plain page. */
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

/** The smallest of those that the client takes. Source: RFC 9110, 12.5.3. */
function encodingFor(accepted: string | undefined, there: readonly string[]): PageEncoding {
  const known: readonly PageEncoding[] = ['br', 'gzip'];
  return known.find((name) => there.includes(name) && namesCoding(accepted, name)) ?? 'identity';
}
