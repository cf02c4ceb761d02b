import { hash } from 'node:crypto';

import { isKnown } from '../../pipeline/stats/stats.ts';
import { browserHeaders, notFound, type Answer, type Bytes, type BytesAnswer } from './answer.ts';
import { namesCoding, readIfNoneMatch } from './negotiation.ts';

/** Answers GET and HEAD of a file that stays the same, by the request's headers. */
export type Page = (headers: Headers) => Answer | BytesAnswer;

/** By URL path. */
export type Pages = ReadonlyMap<string, Page>;

interface PageContent {
  readonly contentType: string;
  /** Whether the name contains a hash of the content, so that it can be cached forever; default: no. */
  readonly isForever?: boolean;
  /** The content in each available encoding; identity is always available. */
  readonly bodies: Readonly<Partial<Record<'gzip' | 'br', Bytes>>> & { readonly identity: Bytes };
  /** Further headers; default: the policy of the dashboard. */
  readonly headers?: Readonly<Record<string, string>>;
}

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

/** The headers of a page without scripts that has one inline style and loads nothing. */
export function scriptlessHeaders(style: string, formAction: "'none'" | "'self'") {
  const policy = [
    "default-src 'none'",
    `style-src 'sha256-${hash('sha256', style, 'base64')}'`,
    "base-uri 'none'",
    `form-action ${formAction}`,
    "frame-ancestors 'none'",
  ];
  return {
    'content-security-policy': policy.join('; '),
    'cross-origin-opener-policy': 'same-origin',
    // For browsers that do not support frame-ancestors.
    'x-frame-options': 'DENY',
  };
}

/** A page of this content. It holds no data, so it needs no token. */
export function pageOf({ contentType, isForever = false, bodies, headers }: PageContent): Page {
  const common = {
    ...browserHeaders,
    ...(headers ?? { 'content-security-policy': pagePolicy }),
    'content-type': contentType,
    'cache-control': isForever ? 'public, max-age=31536000, immutable' : 'no-cache',
    vary: 'Accept-Encoding',
  };
  const variantOf = (encoding: string, body: Bytes) => ({ encoding, body, etag: tagOf(body) });
  const plain = variantOf('identity', bodies.identity);
  const { br, gzip } = bodies;
  /** The smallest first. */
  const compressed = [br && variantOf('br', br), gzip && variantOf('gzip', gzip)];
  return (sent) => {
    // Source: RFC 9110, 12.5.3.
    const accepted = compressed.find(
      (each) => each !== undefined && namesCoding(sent.get('accept-encoding'), each.encoding),
    );
    const { encoding, body, etag } = accepted ?? plain;
    const tagged = { ...common, etag: `"${etag}"` };
    if (isKnown(readIfNoneMatch(sent.get('if-none-match')), etag)) {
      return { status: 304, headers: tagged, body: '' };
    }
    if (encoding === 'identity') return { status: 200, headers: tagged, body };
    return { status: 200, headers: { ...tagged, 'content-encoding': encoding }, body };
  };
}

function tagOf(body: Bytes): string {
  return hash('sha256', body, 'base64url').slice(0, 22);
}

/** The response if the dashboard is not built: a link to the plain page. */
export function missingPage(path: string): Answer {
  if (path !== '/') return notFound(path);
  return {
    status: 200,
    headers: { ...browserHeaders, 'content-type': 'text/html; charset=utf-8' },
    body:
      '<!doctype html><html lang="en"><meta charset="utf-8"><title>Device pipeline</title>' +
      '<h1>Device pipeline</h1><p>The dashboard is not built. Run <code>npm run build:dashboard</code> ' +
      `and restart the server. The <a href="stats-html?date=${new Date().toISOString().slice(0, 10)}">plain page</a> shows the counts of one day.</p></html>`,
  };
}
