import { createHash } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { gzipSync } from 'node:zlib';

import { parse, type DefaultTreeAdapterTypes as Tree } from 'parse5';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';

import { createHttpServer } from '../../../src/http/server/server.ts';
import type { HttpTimeouts } from '../../../src/http/server/server-parts.ts';
import { lengthOf } from '../../../src/engines/embedded/writer/submission-ring.ts';
import type { BorrowedBody, Ingest, IngestOutcome } from '../../../src/pipeline/ports.ts';
import { countersOf } from '../../support/counters.ts';
import {
  exchange,
  postBatch,
  startServer,
  storedBatches,
  waitUntilCounted,
  type Received,
  type TestServer,
  type TestServerOptions,
} from '../../support/server.ts';

const item = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
const otherItem = { ...item, type: 'phone' };
const badItem = { ...item, type: '' };
const json = { 'content-type': 'application/json' };
const gzip = { ...json, 'content-encoding': 'gzip' };

/** Content-Length and Transfer-Encoding, which must not be combined. */
const bothLengths = { ...json, 'content-length': '1', 'transfer-encoding': 'chunked' };

const bodyOf = (...items: readonly unknown[]) => JSON.stringify({ processed_devices: items });

/** A batch of one item, padded with white space. */
function paddedBody(bytes: number): string {
  return bodyOf(item).padEnd(bytes, ' ');
}

interface Accepted {
  readonly raw_key: string;
  readonly enqueued: number;
}

function acceptedOf({ status, text }: Pick<Received, 'status' | 'text'>): Accepted {
  expect(status, text).toBe(200);
  return JSON.parse(text) as Accepted;
}

function expectProblem(
  answer: Omit<Received, 'headers'> & { headers: object },
  status: number,
  code: string,
) {
  expect(answer.status, answer.text).toBe(status);
  expect(answer.headers).toMatchObject({ 'content-type': 'application/problem+json' });
  expect(JSON.parse(answer.text)).toMatchObject({ status, code });
}

/** Time limits so long that no test ends because of one. */
const longTimeouts = {
  headersMs: 600_000,
  requestMs: 600_000,
  keepAliveMs: 600_000,
  checkMs: 1000,
  lingerMs: 600_000,
  readMs: 600_000,
};

/** A server for tests that leave nothing behind. */
function sharedServer(): () => TestServer {
  let server: TestServer | undefined;
  beforeAll(async () => {
    server = await startServer({ http: { timeouts: longTimeouts } });
  });
  afterAll(() => server?.stop());
  return () => server ?? expect.fail('the server did not start');
}

async function serve(options: TestServerOptions = {}): Promise<TestServer> {
  const server = await startServer(options);
  onTestFinished(() => server.stop());
  return server;
}

/** All counters, of any date. */
async function counts({ pipeline, url }: TestServer) {
  await waitUntilCounted(url);
  return await countersOf(pipeline);
}

const counter = ({ type, state }: typeof item, count: number) => {
  return { date: '2023-06-16', type, state, count };
};

const bodies = async ({ dataDir }: TestServer) =>
  (await storedBatches(dataDir)).map(({ body }) => Buffer.from(body));

/** Nothing was stored, and nothing is on its way: batches are stored in the order of arrival. */
async function expectNothingStored(server: TestServer): Promise<void> {
  const next = bodyOf({ ...item, type: 'the next' });
  acceptedOf(await postBatch(server.url, next));
  expect(await bodies(server)).toEqual([Buffer.from(next)]);
}

describe('a compressed body', () => {
  it('is accepted, stored as received, and counted inflated', async () => {
    const server = await serve();
    const compressed = gzipSync(bodyOf(item, item), { level: 9 });
    expect(acceptedOf(await postBatch(server.url, compressed, gzip)).enqueued).toBe(2);
    expect(await storedBatches(server.dataDir)).toMatchObject([{ encoding: 'gzip' }]);
    expect(await bodies(server)).toEqual([compressed]);
    expect(await counts(server)).toEqual([counter(item, 2)]);
  });

  it('is refused if it inflates beyond the limit, and accepted if it inflates to the limit', async () => {
    const server = await serve();
    const limit = 4 * 1024 * 1024;
    const bomb = gzipSync(paddedBody(256 * 1024 * 1024), { level: 9 });
    for (const over of [bomb, gzipSync(paddedBody(limit + 1))]) {
      expect(over.length).toBeLessThan(limit);
      expectProblem(await postBatch(server.url, over, gzip), 413, 'body_too_large');
    }
    expect(await bodies(server)).toEqual([]);
    acceptedOf(await postBatch(server.url, gzipSync(paddedBody(limit)), gzip));
  });

  it('is refused if it is cut short or not gzip', async () => {
    const server = await serve();
    const compressed = gzipSync(bodyOf(item));
    for (const broken of [compressed.subarray(0, -4), bodyOf(item), '']) {
      expectProblem(await postBatch(server.url, broken, gzip), 400, 'invalid_gzip');
    }
    expect(await bodies(server)).toEqual([]);
  });

  it('is the same batch if it is compressed again under the same key', async () => {
    const server = await serve();
    const headers = { ...gzip, 'idempotency-key': 'a' };
    const body = bodyOf(...Array.from({ length: 100 }, () => item));
    const [fast, small] = [1, 9].map((level) => gzipSync(body, { level })) as [Buffer, Buffer];
    expect(fast.equals(small)).toBe(false);
    const first = acceptedOf(await postBatch(server.url, fast, headers));
    expect(acceptedOf(await postBatch(server.url, small, headers))).toEqual(first);
    expect(await bodies(server)).toEqual([fast]);
    expect(await counts(server)).toEqual([counter(item, 100)]);
  });
});

describe('a body larger than the limit', () => {
  const bodyBytesMax = 100_000;

  it('is refused as soon as its length is known; the client can finish sending and read the answer', async () => {
    const server = await serve({ bodyBytesMax, http: { timeouts: longTimeouts } });
    const wire = await Wire.open(server);
    const begun = nextRequest(server);
    const piece = Buffer.alloc(64 * 1024, ' ');
    wire.send(head('POST /ingest', { ...json, 'content-length': String(40 * piece.length) }));
    wire.send(piece);
    const answer = await wire.answer();
    expectProblem(answer, 413, 'body_too_large');
    expect(answer.headers['connection']).toBe('close');
    const ended = once(await begun, 'end');
    for (let sent = 1; sent < 40; sent++) wire.send(piece);
    await ended;
    expect(await wire.rest()).toBe('');
    await expectNothingStored(server);
  });

  it('is refused also to a client that reads only after sending everything', async () => {
    const server = await serve({ bodyBytesMax });
    const body = Buffer.alloc(20 * 1024 * 1024, ' ');
    expectProblem(await postBatch(server.url, body), 413, 'body_too_large');
  });

  it('is refused in a chunked request once it is too long', async () => {
    const server = await serve({ bodyBytesMax, http: { timeouts: longTimeouts } });
    const wire = await Wire.open(server);
    const begun = nextRequest(server);
    wire.send(head('POST /ingest', { ...json, 'transfer-encoding': 'chunked' }));
    wire.send(chunk(paddedBody(bodyBytesMax)));
    wire.send(chunk(' '));
    const answer = await wire.answer();
    expectProblem(answer, 413, 'body_too_large');
    expect(answer.headers['connection']).toBe('close');
    const ended = once(await begun, 'end');
    for (let sent = 0; sent < 20; sent++) wire.send(chunk(' '.repeat(100_000)));
    wire.send(lastChunk);
    await ended;
    expect(await wire.rest()).toBe('');
    await expectNothingStored(server);
  });

  it('is one byte longer than the longest', async () => {
    const server = await serve({ bodyBytesMax });
    acceptedOf(await postBatch(server.url, paddedBody(bodyBytesMax)));
    const over = await postBatch(server.url, paddedBody(bodyBytesMax + 1));
    expectProblem(over, 413, 'body_too_large');
    const wire = await Wire.open(server);
    wire.send(head('POST /ingest', { ...json, 'transfer-encoding': 'chunked' }));
    wire.send(chunk(paddedBody(bodyBytesMax)) + lastChunk);
    acceptedOf(await wire.answer());
  });
});

describe('Expect: 100-continue', () => {
  const server = sharedServer();

  const expecting = (body: string, more: Record<string, string> = {}) =>
    head('POST /ingest', {
      ...json,
      expect: '100-continue',
      'content-length': String(body.length),
      ...more,
    });

  it('is answered with 100 Continue, then as usual', async () => {
    const wire = await Wire.open(server());
    const body = bodyOf(item);
    wire.send(expecting(body));
    expect((await wire.answer()).status).toBe(100);
    wire.send(body);
    acceptedOf(await wire.answer());
  });

  it.each([
    [415, 'unsupported_media_type', { 'content-type': 'text/plain' }],
    [400, 'invalid_idempotency_key', { 'idempotency-key': 'a b' }],
    [413, 'body_too_large', { 'content-length': String(5 * 1024 * 1024) }],
  ])('is answered with %i at once if the body would be refused', async (status, code, more) => {
    const wire = await Wire.open(server());
    wire.send(expecting(bodyOf(item), more));
    const answer = await wire.answer();
    expectProblem(answer, status, code);
    expect(answer.headers['connection']).toBe('close');
    wire.end();
    expect(await wire.rest()).toBe('');
  });

  it('is answered by the other routes, too', async () => {
    const wire = await Wire.open(server());
    wire.send(head('POST /stats', { expect: '100-continue', 'content-length': '1' }));
    expect((await wire.answer()).status).toBe(100);
    wire.send('x');
    expectProblem(await wire.answer(), 405, 'method_not_allowed');
  });

  it('is ignored if the expectation is unknown', async () => {
    const body = bodyOf(item);
    acceptedOf(await postBatch(server().url, body, { expect: 'the-unexpected' }));
  });
});

describe('an idempotency key', () => {
  const keyed = { 'idempotency-key': 'line-7/0001' };

  it('gets the same answer when it is repeated with the same body, and the batch is counted once', async () => {
    const server = await serve();
    const first = await postBatch(server.url, [item, badItem], keyed);
    const second = await postBatch(server.url, [item, badItem], keyed);
    expect(acceptedOf(first).enqueued).toBe(1);
    expect(second.text).toBe(first.text);
    expect(second.headers.location).toBe(first.headers.location);
    expect(await counts(server)).toEqual([counter(item, 1)]);

    // Also once the batch is counted.
    expect((await postBatch(server.url, [item, badItem], keyed)).text).toBe(first.text);
    expect(await counts(server)).toEqual([counter(item, 1)]);
    expect(await bodies(server)).toHaveLength(1);
  });

  it('makes one batch of eight concurrent requests', async () => {
    const server = await serve();
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => postBatch(server.url, [item], keyed)),
    );
    expect(new Set(answers.map((answer) => acceptedOf(answer).raw_key)).size).toBe(1);
    expect(await bodies(server)).toHaveLength(1);
    expect(await counts(server)).toEqual([counter(item, 1)]);
  });

  it('makes one batch of eight pipelined requests', async () => {
    const server = await serve();
    const wire = await Wire.open(server);
    const body = bodyOf(item);
    const length = { 'content-length': String(body.length) };
    wire.send((head('POST /ingest', { ...json, ...keyed, ...length }) + body).repeat(8));
    const rawKeys = new Set<string>();
    for (let count = 0; count < 8; count++) rawKeys.add(acceptedOf(await wire.answer()).raw_key);
    expect(rawKeys.size).toBe(1);
    expect(await bodies(server)).toHaveLength(1);
    expect(await counts(server)).toEqual([counter(item, 1)]);
  });

  it('is refused with another body, whether its batch is pending or counted', async () => {
    const server = await serve();
    acceptedOf(await postBatch(server.url, [item], keyed));
    const other = await postBatch(server.url, [otherItem], keyed);
    expectProblem(other, 422, 'idempotency_key_reused');
    await waitUntilCounted(server.url);
    const another = await postBatch(server.url, [otherItem], keyed);
    expectProblem(another, 422, 'idempotency_key_reused');
    expect(await counts(server)).toEqual([counter(item, 1)]);
  });

  it('makes one batch of eight concurrent requests with two bodies and refuses the other body', async () => {
    const server = await serve();
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        postBatch(server.url, [index % 2 === 0 ? item : otherItem], keyed),
      ),
    );
    const statuses = answers.map(({ status }) => status).sort();
    expect(statuses).toEqual([200, 200, 200, 200, 422, 422, 422, 422]);
    expect(await bodies(server)).toHaveLength(1);
  });

  it.each([
    ['a space', 'a b'],
    ['256 characters', 'x'.repeat(256)],
    ['none', ''],
    ['a character beyond ASCII', 'caf\u00e9'],
  ])('with %s is refused', async (_, key) => {
    const server = await serve();
    const answer = await postBatch(server.url, [item], { 'idempotency-key': key });
    expectProblem(answer, 400, 'invalid_idempotency_key');
    expect(await bodies(server)).toEqual([]);
  });

  it('given twice is refused', async () => {
    const wire = await Wire.open(await serve());
    const body = bodyOf(item);
    const lines = ['idempotency-key: a', 'Idempotency-Key: b', `content-length: ${body.length}`];
    wire.send(`POST /ingest HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n`);
    wire.send(`${lines.join('\r\n')}\r\n\r\n${body}`);
    expectProblem(await wire.answer(), 400, 'invalid_idempotency_key');
  });

  it('may be 255 characters long', async () => {
    const server = await serve();
    acceptedOf(await postBatch(server.url, [item], { 'idempotency-key': '~'.repeat(255) }));
  });

  it('gets the answer of a partly accepted batch also if handling is strict now', async () => {
    const server = await serve();
    const first = await postBatch(server.url, [item, badItem], keyed);
    const strict = { ...keyed, prefer: 'handling=strict' };
    const second = await postBatch(server.url, [item, badItem], strict);
    expect(acceptedOf(second)).toMatchObject({ enqueued: 1, rejected: 1 });
    expect(second.text).toBe(first.text);
    expect(second.headers['preference-applied']).toBeUndefined();
  });

  it('is free again after its batch was refused', async () => {
    const server = await serve();
    const strict = { ...keyed, prefer: 'handling=strict' };
    expectProblem(await postBatch(server.url, [item, badItem], strict), 400, 'invalid_items');
    acceptedOf(await postBatch(server.url, [item, badItem], keyed));
  });

  it('gets the lost answer with the retry, and the batch is counted once', async () => {
    const server = await serve();
    const proxy = await startLossyProxy(server.port);
    await expect(postBatch(proxy.url, [item], keyed)).rejects.toThrow();
    const lost = await proxy.lostAnswer;
    const retry = acceptedOf(await postBatch(server.url, [item], keyed));
    expect(lost).toContain(`"raw_key":"${retry.raw_key}"`);
    expect(await bodies(server)).toHaveLength(1);
    expect(await counts(server)).toEqual([counter(item, 1)]);
  });
});

describe('Prefer: handling=strict', () => {
  const strict = { prefer: 'handling=strict' };

  it('is confirmed in the answer if it is applied', async () => {
    const { url } = await serve();
    const taken = await postBatch(url, [item], strict);
    acceptedOf(taken);
    expect(taken.headers['preference-applied']).toBe('handling=strict');
    const refused = await postBatch(url, [item, badItem], strict);
    expectProblem(refused, 400, 'invalid_items');
    expect(refused.headers['preference-applied']).toBe('handling=strict');
    const lenient = await postBatch(url, [item, badItem]);
    acceptedOf(lenient);
    expect(lenient.headers['preference-applied']).toBeUndefined();
  });
});

describe('the receipt of a batch', () => {
  const server = sharedServer();

  it('is pending until the batch is counted', async () => {
    const { url } = server();
    const release = holdCounters(server());
    const answer = await postBatch(url, [item, badItem, item]);
    const { raw_key: rawKey } = acceptedOf(answer);
    const path = String(answer.headers.location);
    expect(path).toBe(`/ingest/${rawKey.slice(-41, -5)}`);

    const pending = await exchange(url, { path });
    expect(pending.status).toBe(200);
    expect(JSON.parse(pending.text)).toEqual({
      status: 'pending',
      raw_key: rawKey,
      enqueued: 2,
      counted: 0,
      rejected: 1,
      received_at: rawKey.slice(4, 28),
    });

    release();
    await waitUntilCounted(url);
    const counted = await exchange(url, { path });
    expect(JSON.parse(counted.text)).toMatchObject({ status: 'counted', enqueued: 2, counted: 2 });
  });

  it.each([
    '00000000-0000-8000-8000-000000000000',
    'ffffffff-ffff-8fff-bfff-ffffffffffff',
    '6fa459ea-ee8a-4ca4-894e-db77e160355e',
    'x',
    '%00',
    '%ff',
    '..%2f..%2fetc%2fpasswd',
  ])('is not found for %s, which is no batch', async (id) => {
    const { url } = server();
    acceptedOf(await postBatch(url, [item]));
    expectProblem(await exchange(url, { path: `/ingest/${id}` }), 404, 'batch_not_found');
  });
});

describe('a method that the path does not allow', () => {
  const server = sharedServer();

  it.each([
    ['GET', '/ingest', 'POST, OPTIONS'],
    ['HEAD', '/ingest', 'POST, OPTIONS'],
    ['PUT', '/ingest', 'POST, OPTIONS'],
    ['DELETE', '/ingest', 'POST, OPTIONS'],
    ['POST', '/ingest/x', 'GET, HEAD, OPTIONS'],
    ['POST', '/stats', 'GET, HEAD, OPTIONS'],
    ['DELETE', '/stats?date=2023-06-16', 'GET, HEAD, OPTIONS'],
    ['PROPFIND', '/stats', 'GET, HEAD, OPTIONS'],
    ['TRACE', '/stats', 'GET, HEAD, OPTIONS'],
    ['POST', '/stats-html', 'GET, HEAD, OPTIONS'],
    ['POST', '/healthz', 'GET, HEAD, OPTIONS'],
    ['POST', '/readyz', 'GET, HEAD, OPTIONS'],
    ['POST', '/', 'GET, HEAD, OPTIONS'],
  ])('%s %s is answered with 405 and the allowed methods', async (method, path, allow) => {
    const answer = await exchange(server().url, { method, path });
    expect(answer.status).toBe(405);
    expect(answer.headers.allow).toBe(allow);
    if (method !== 'HEAD') expectProblem(answer, 405, 'method_not_allowed');
  });

  it.each([
    ['/ingest', 'POST, OPTIONS'],
    ['/', 'GET, HEAD, OPTIONS'],
    // The server itself: some load balancers ask for it.
    ['*', 'GET, HEAD, OPTIONS'],
    ['/healthz', 'GET, HEAD, OPTIONS'],
    ['/readyz', 'GET, HEAD, OPTIONS'],
    ['/stats', 'GET, HEAD, OPTIONS'],
    ['/ingest/x', 'GET, HEAD, OPTIONS'],
    ['/assets/x', 'GET, HEAD, OPTIONS'],
  ])('OPTIONS %s is answered with 204 and the allowed methods', async (path, allow) => {
    const answer = await exchange(server().url, { method: 'OPTIONS', path });
    expect([answer.status, answer.headers.allow, answer.text]).toEqual([204, allow, '']);
  });

  it('OPTIONS of HTTP/1.0 without a host, the default check of HAProxy, is answered with 204', async () => {
    const wire = await Wire.open(server());
    wire.send('OPTIONS / HTTP/1.0\r\n\r\n');
    expect((await wire.answer()).status).toBe(204);
  });

  it('an unknown content coding is answered with 415 and the supported ones', async () => {
    const headers = { ...json, 'content-encoding': 'br' };
    const answer = await exchange(server().url, { method: 'POST', path: '/ingest', headers });
    expect([answer.status, answer.headers['accept-encoding']]).toEqual([415, 'gzip']);
  });

  it('OPTIONS of an unknown path is answered with 404', async () => {
    const answer = await exchange(server().url, { method: 'OPTIONS', path: '/nothing' });
    expectProblem(answer, 404, 'not_found');
  });

  it('is refused also with a body, and the connection stays open', async () => {
    const wire = await Wire.open(server());
    const body = 'x'.repeat(100_000);
    wire.send(head('POST /stats', { 'content-length': String(body.length) }) + body);
    expectProblem(await wire.answer(), 405, 'method_not_allowed');
    wire.send(head('GET /healthz'));
    expect((await wire.answer()).status).toBe(200);
  });
});

describe('HEAD', () => {
  const server = sharedServer();

  it.each(['/stats?date=2023-06-16', '/stats', '/stats-html?date=2023-06-16', '/healthz', '/nope'])(
    'on %s is GET without the body',
    async (path) => {
      const wire = await Wire.open(server());
      wire.send(head(`HEAD ${path}`));
      const { status, headers } = await wire.answer({ isHead: true });
      wire.send(head(`GET ${path}`));
      const got = await wire.answer();
      expect(status).toBe(got.status);
      expect(headers['content-type']).toBe(got.headers['content-type']);
    },
  );
});

describe('a connection', () => {
  const shared = sharedServer();
  const post = (body: string, more: Record<string, string> = {}) =>
    head('POST /ingest', { ...json, 'content-length': String(body.length), ...more }) + body;

  it('serves one request after another', async () => {
    const server = await serve();
    const wire = await Wire.open(server);
    for (const each of [item, otherItem]) {
      wire.send(post(bodyOf(each)));
      acceptedOf(await wire.answer());
      wire.send(head('GET /healthz'));
      expect((await wire.answer()).status).toBe(200);
    }
    expect(await counts(server)).toEqual([counter(item, 1), counter(otherItem, 1)]);
  });

  it.each([
    [400, 'invalid_json', '{'.padEnd(200_000), {}],
    [400, 'no_valid_items', bodyOf(badItem), {}],
    [400, 'invalid_idempotency_key', paddedBody(200_000), { 'idempotency-key': 'a b' }],
    [400, 'invalid_gzip', paddedBody(200_000), gzip],
    [415, 'unsupported_media_type', paddedBody(200_000), { 'content-type': 'text/plain' }],
  ])('stays open after %i %s', async (status, code, body, more) => {
    const wire = await Wire.open(shared());
    wire.send(post(body, more));
    expectProblem(await wire.answer(), status, code);
    wire.send(post(bodyOf(item)));
    acceptedOf(await wire.answer());
  });

  it('answers pipelined requests in their order', async () => {
    const server = await serve();
    const wire = await Wire.open(server);
    wire.send(
      [
        post(bodyOf(item)),
        head('GET /stats'),
        post('{'),
        head('GET /nope'),
        post(bodyOf(otherItem)),
        head('GET /healthz'),
      ].join(''),
    );
    const statuses: number[] = [];
    for (let index = 0; index < 6; index++) statuses.push((await wire.answer()).status);
    expect(statuses).toEqual([200, 400, 400, 404, 200, 200]);
    expect(await counts(server)).toEqual([counter(item, 1), counter(otherItem, 1)]);
  });

  it('accepts a chunked body with trailers', async () => {
    const server = await serve();
    const wire = await Wire.open(server);
    const body = bodyOf(item);
    wire.send(head('POST /ingest', { ...json, 'transfer-encoding': 'chunked', trailer: 'x-sum' }));
    for (const byte of body) wire.send(chunk(byte));
    wire.send('0;last=yes\r\nX-Sum: 1\r\nIdempotency-Key: a b\r\n\r\n');
    acceptedOf(await wire.answer());
    expect(await bodies(server)).toEqual([Buffer.from(body)]);
    wire.send(head('GET /healthz'));
    expect((await wire.answer()).status).toBe(200);
  });

  it('accepts a request of HTTP/1.0, with or without a host, and ends', async () => {
    const server = await serve();
    const wire = await Wire.open(server);
    const body = bodyOf(item);
    wire.send(
      `POST /ingest HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    acceptedOf(await wire.answer());
    expect(await wire.rest()).toBe('');
    for (const host of ['', 'host: example.com\r\n']) {
      const other = await Wire.open(server);
      other.send(`GET /stats?date=2023-06-16 HTTP/1.0\r\n${host}\r\n`);
      expect((await other.answer()).status).toBe(200);
      expect(await other.rest()).toBe('');
    }
  });
});

describe('a request target', () => {
  const server = sharedServer();

  it.each([
    '/ingest?source=line-7',
    '/ingest?',
    '/%69ngest',
    '/x/../ingest',
    'http://x.org/ingest',
  ])('may be written %s', async (path) => {
    const { url } = server();
    acceptedOf(await exchange(url, { method: 'POST', path, headers: json, body: bodyOf(item) }));
  });

  it('may be in absolute form for a query, too', async () => {
    const answer = await exchange(server().url, { path: 'http://x.org:81/stats?date=2001-01-01' });
    expect([answer.status, answer.text]).toEqual([200, '[]']);
  });

  it.each([
    ...['/ingest/', '//ingest', '/ingest//', '/ingestx', '/Ingest', '/%2fingest', '/ingest%3f'],
    ...['//', '/\\ingest', '/%', '*', 'http://', 'ftp://x.org/ingest', 'http://x.org:99999/'],
  ])('%s is answered with a problem, and the server survives', async (path) => {
    const { url } = server();
    // OPTIONS has a target of its own (RFC 9110, section 9.3.7).
    const methods = path === '*' ? ['POST', 'GET'] : ['POST', 'GET', 'OPTIONS'];
    for (const method of methods) {
      const request = { method, path, headers: json, ...(method === 'POST' && { body: 'x' }) };
      const answer = await exchange(url, request);
      const { code } = JSON.parse(answer.text) as { code: string };
      expect([400, 404, 405]).toContain(answer.status);
      expectProblem(answer, answer.status, code);
    }
    expect((await exchange(url, { path: '/healthz' })).status).toBe(200);
  });
});

describe('invalid HTTP', () => {
  const server = sharedServer();
  const chunkOfNoSize = `${head('POST /ingest', { ...json, 'transfer-encoding': 'chunked' })}xyz\r\n`;

  const texts = [
    ['no HTTP', 'hello\r\n\r\n'],
    ['another protocol', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    ['a version that does not exist', 'GET / HTTP/9.9\r\nhost: x\r\n\r\n'],
    ['no target', 'GET HTTP/1.1\r\nhost: x\r\n\r\n'],
    ['a header without a colon', 'GET / HTTP/1.1\r\nhost: x\r\nnonsense\r\n\r\n'],
    ['no host', 'GET /healthz HTTP/1.1\r\n\r\n'],
    ['no host for a batch', 'POST /ingest HTTP/1.1\r\ncontent-length: 0\r\n\r\n'],
    ['two lengths', 'POST /ingest HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n'],
    ['a length and chunks', `${head('POST /ingest', bothLengths)}0\r\n\r\n`],
    ['a chunk of no size', chunkOfNoSize],
    ['much that is no HTTP', '\u0000'.repeat(2_000_000)],
  ] as const;

  it.each(texts)('%s is answered with 400, and the connection ends', async (_, text) => {
    const wire = await Wire.open(server());
    wire.send(text);
    const answer = await wire.answer();
    expectProblem(answer, 400, 'malformed_request');
    expect(answer.headers['connection']).toBe('close');
    wire.end();
    expect(await wire.rest()).toBe('');
    expect(await bodies(server())).toEqual([]);
    expect((await exchange(server().url, { path: '/healthz' })).status).toBe(200);
  });

  it.each(texts)('%s after an answered request is answered with 400', async (_, text) => {
    const wire = await Wire.open(server());
    wire.send(head('GET /healthz'));
    expect((await wire.answer()).status).toBe(200);
    wire.send(text);
    expectProblem(await wire.answer(), 400, 'malformed_request');
    wire.end();
    expect(await wire.rest()).toBe('');
  });

  it.each([
    ['together with its head', ''],
    ['after its answer', 'wait'],
  ])(
    'a chunk without a size, %s, to a path that refused its method gets no second answer',
    async (_, wait) => {
      const wire = await Wire.open(server());
      wire.send(head('POST /stats', { 'transfer-encoding': 'chunked' }) + (wait ? '' : 'xyz\r\n'));
      expectProblem(await wire.answer(), 405, 'method_not_allowed');
      if (wait) wire.send('xyz\r\n');
      expect(await wire.rest()).toBe('');
    },
  );

  it('an invalid host is answered with 400', async () => {
    const answer = await exchange(server().url, { path: '/healthz', headers: { host: 'a b' } });
    expectProblem(answer, 400, 'malformed_request');
  });

  it('headers larger than 16 KiB are answered with 431', async () => {
    const wire = await Wire.open(server());
    wire.send(head('POST /ingest', { ...json, cookie: 'x'.repeat(20_000) }));
    const answer = await wire.answer();
    expectProblem(answer, 431, 'headers_too_large');
    expect(answer.headers['connection']).toBe('close');
  });

  it.each([
    ['no HTTP', 'what is this\r\n\r\n'],
    ['a chunk of no size', chunkOfNoSize],
    ['no host', 'GET /healthz HTTP/1.1\r\n\r\n'],
  ])('%s does not lose the answer of the batch before it', async (_, text) => {
    const own = await serve();
    const wire = await Wire.open(own);
    const body = bodyOf(item);
    wire.send(
      head('POST /ingest', { ...json, 'content-length': String(body.length) }) + body + text,
    );
    acceptedOf(await wire.answer());
    expectProblem(await wire.answer(), 400, 'malformed_request');
    wire.end();
    expect(await wire.rest()).toBe('');
    expect(await counts(own)).toEqual([counter(item, 1)]);
  });
});

describe('a slow client', () => {
  const timeouts = {
    headersMs: 100,
    requestMs: 100,
    keepAliveMs: 60_000,
    checkMs: 20,
    lingerMs: 50,
    readMs: 600_000,
  };
  const body = paddedBody(1000);
  const unfinished =
    head('POST /ingest', { ...json, 'content-length': '1000' }) + body.slice(0, 900);

  it('gets 408 if it does not finish its headers', async () => {
    const wire = await Wire.open(await serve({ http: { timeouts } }));
    wire.send('POST /ingest HTTP/1.1\r\nhost: x\r\n');
    const answer = await wire.answer();
    expectProblem(answer, 408, 'request_timeout');
    expect(answer.headers['connection']).toBe('close');
    expect(await wire.rest()).toBe('');
  });

  it('gets 408 if it does not finish its body; nothing is stored, and its memory is freed', async () => {
    const server = await serve({ http: { timeouts, bodiesBytesMax: 1000 } });
    const [wire, connection] = await Wire.openBoth(server);
    wire.send(unfinished);
    const answer = await wire.answer();
    expectProblem(answer, 408, 'request_timeout');
    expect(answer.headers['connection']).toBe('close');
    wire.end();
    expect(await wire.rest()).toBe('');
    await closeOf(connection);
    acceptedOf(await postBatch(server.url, paddedBody(1000)));
    expect(await bodies(server)).toHaveLength(1);
  });

  it.each([
    ['its headers', 'POST /ingest HTTP/1.1\r\nhost: x\r\n'],
    ['its body', unfinished],
  ])('is cut off if it stays after %s were late', async (_, text) => {
    const server = await serve({ http: { timeouts, bodiesBytesMax: 1000 } });
    const [wire, connection] = await Wire.openBoth(server, { allowHalfOpen: true });
    wire.send(text);
    expectProblem(await wire.answer(), 408, 'request_timeout');
    await closeOf(connection);
    acceptedOf(await postBatch(server.url, paddedBody(1000)));
  });

  it.each([
    ['a batch', {}],
    ['what would be refused anyway', { 'content-type': 'text/plain' }],
  ])('does not have its body stored if it finishes after the 408: %s', async (_, more) => {
    const server = await serve({ http: { timeouts: { ...timeouts, lingerMs: 60_000 } } });
    const [wire, connection] = await Wire.openBoth(server);
    const read = followBody(server);
    wire.send(head('POST /ingest', { ...json, ...more, 'content-length': '1000' }));
    wire.send(body.slice(0, 900));
    expectProblem(await wire.answer(), 408, 'request_timeout');
    wire.send(body.slice(900));
    await read(1000);
    expect(await wire.rest()).toBe('');
    await closeOf(connection);
    await expectNothingStored(server);
  });

  it.each([
    ['headers', 'POST /ingest HTTP/1.1\r\n'],
    ['body', unfinished],
  ])('gets the answer of the first request if the %s of the next one is late', async (_, next) => {
    const { promise, resolve } = Promise.withResolvers<IngestOutcome>();
    const server = await serveHttp({ ingest: () => promise }, { timeouts });
    const wire = await Wire.open(server);
    const late = once(server.http.server, 'clientError');
    wire.send(head('POST /ingest', { ...json, 'content-length': '1000' }) + body + next);
    await late;
    resolve(taken);
    expect(acceptedOf(await wire.answer())).toMatchObject({ raw_key: 'raw/x' });
    expectProblem(await wire.answer(), 408, 'request_timeout');
    expect(await wire.rest()).toBe('');
  });
});

describe('a client that disconnects in the middle of its body', () => {
  it('stores nothing and holds no memory', async () => {
    const server = await serve({ http: { bodiesBytesMax: 1000 } });
    const [wire, connection] = await Wire.openBoth(server);
    const read = followBody(server);
    wire.send(head('POST /ingest', { ...json, 'content-length': '1000' }));
    wire.send(paddedBody(900));
    await read(900);
    expectProblem(await postBatch(server.url, paddedBody(200)), 503, 'overloaded');
    wire.socket.resetAndDestroy();
    await closeOf(connection);
    acceptedOf(await postBatch(server.url, paddedBody(1000)));
    expect(await bodies(server)).toEqual([Buffer.from(paddedBody(1000))]);
  });

  it.each([
    ['ends', (socket: Socket) => socket.destroy()],
    ['resets', (socket: Socket) => socket.resetAndDestroy()],
  ])(
    'stores nothing if it %s the connection after all but the end of its request',
    async (_, leave) => {
      const server = await serve();
      const [wire, connection] = await Wire.openBoth(server);
      const body = bodyOf(item);
      const read = followBody(server);
      wire.send(head('POST /ingest', { ...json, 'transfer-encoding': 'chunked' }) + chunk(body));
      await read(body.length);
      leave(wire.socket);
      await closeOf(connection);
      await expectNothingStored(server);
    },
  );

  it('does not have its batch stored and holds no memory, also while its previous batch waits', async () => {
    const submitted: number[] = [];
    const { promise, resolve } = Promise.withResolvers<IngestOutcome>();
    const server = await serveHttp({
      ingest({ body }) {
        submitted.push(lengthOf(body));
        return promise;
      },
    });
    const [wire, connection] = await Wire.openBoth(server);
    const begun = nextRequest(server);
    // With a header that routes it to node:http, whose requests the test can follow.
    const post = head('POST /ingest', { ...json, 'content-length': '5000', 'x-other': 'any' });
    wire.send(post + paddedBody(5000));
    await begun;
    const read = followBody(server);
    wire.send(post + paddedBody(4000));
    await read(4000);
    wire.socket.resetAndDestroy();
    await closeOf(connection);
    resolve(taken);
    acceptedOf(await postBatch(`http://127.0.0.1:${server.port}`, paddedBody(10_000)));
    expect(submitted).toEqual([5000, 10_000]);
  });
});

describe('the memory for bodies', () => {
  const held = (declared: number, sent: number) =>
    head('POST /ingest', { ...json, 'content-length': String(declared) }) + paddedBody(sent);

  it('leads to 503 with Retry-After when it is full; later there is space', async () => {
    const server = await serve({ http: { bodiesBytesMax: 1000 } });
    const first = await Wire.open(server);
    const read = followBody(server);
    first.send(held(910, 900));
    await read(900);

    const second = await Wire.open(server);
    const body = paddedBody(200);
    const post = head('POST /ingest', { ...json, 'content-length': '200' }) + body;
    second.send(post);
    const refusal = await second.answer();
    expectProblem(refusal, 503, 'overloaded');
    expect(refusal.headers['retry-after']).toBe('1');

    first.send(' '.repeat(10));
    acceptedOf(await first.answer());
    second.send(post);
    acceptedOf(await second.answer());
    expect(await bodies(server)).toHaveLength(2);
  });

  it('is not held by a refused batch that is still being sent', async () => {
    const server = await serve({ http: { bodiesBytesMax: 1000 } });
    const wire = await Wire.open(server);
    const read = followBody(server);
    wire.send(held(2000, 900));
    await read(900);
    wire.send(' '.repeat(200));
    await read(1100);
    acceptedOf(await postBatch(server.url, paddedBody(1000)));
    wire.send(' '.repeat(900));
    expectProblem(await wire.answer(), 503, 'overloaded');
  });

  it.each(['http://x.org/ingest', '/%69ngest', '/ingest?x', '/./ingest'])(
    'also limits a batch that is posted to %s',
    async (target) => {
      const server = await serve({ http: { bodiesBytesMax: 1000 } });
      const [wire, connection] = await Wire.openBoth(server);
      const read = followBody(server);
      wire.send(head(`POST ${target}`, { ...json, 'content-length': '1000' }) + paddedBody(900));
      await read(900);
      expectProblem(await postBatch(server.url, paddedBody(200)), 503, 'overloaded');
      wire.socket.destroy();
      await closeOf(connection);
      acceptedOf(await postBatch(server.url, paddedBody(200)));
    },
  );

  it('stays reserved while the pipeline processes a batch whose client has disconnected', async () => {
    const { promise, resolve } = Promise.withResolvers<IngestOutcome>();
    const judged = [promise];
    const server = await serveHttp({ ingest: () => judged.pop() ?? Promise.resolve(taken) });
    const [wire, connection] = await Wire.openBoth(server);
    const post = head('POST /ingest', { ...json, 'content-length': '6000' }) + paddedBody(6000);
    wire.send(post);
    await vi.waitUntil(() => judged.length === 0, { timeout: 500_000 });
    wire.socket.resetAndDestroy();
    await closeOf(connection);

    const other = await Wire.open(server);
    other.send(post);
    expectProblem(await other.answer(), 503, 'overloaded');
    resolve(taken);
    await promise;
    other.send(post);
    acceptedOf(await other.answer());
  });

  it('is released by every answer', async () => {
    const server = await serve({ http: { bodiesBytesMax: 1000 }, bodyBytesMax: 1000 });
    for (let round = 0; round < 3; round++) {
      acceptedOf(await postBatch(server.url, paddedBody(1000)));
      const text = { 'content-type': 'text/plain' };
      expect((await postBatch(server.url, paddedBody(1000), text)).status).toBe(415);
      expect((await postBatch(server.url, '{'.padEnd(1000))).status).toBe(400);
      expect((await postBatch(server.url, paddedBody(1001))).status).toBe(413);
    }
    acceptedOf(await postBatch(server.url, paddedBody(1000)));
  });
});

describe('a stop', () => {
  it('answers requests in flight, closes their connections and accepts no new ones', async () => {
    const server = await serve();
    const busy = await Wire.open(server);
    const idle = await Wire.open(server);
    idle.send(head('GET /healthz'));
    expect((await idle.answer()).status).toBe(200);
    const body = bodyOf(item);
    const read = followBody(server);
    busy.send(head('POST /ingest', { ...json, 'content-length': String(body.length) }));
    busy.send(body.slice(0, 10));
    await read(10);

    const stopped = server.http.stop(30_000);
    expect(await idle.rest()).toBe('');
    await expect(exchange(server.url, { path: '/healthz' })).rejects.toThrow('ECONNREFUSED');
    busy.send(body.slice(10));
    const answer = await busy.answer();
    acceptedOf(answer);
    expect(answer.headers['connection']).toBe('close');
    expect(await busy.rest()).toBe('');
    await stopped;
    expect(await bodies(server)).toEqual([Buffer.from(body)]);
  });

  it.each(['silent', 'idle'])('does not wait for %s clients to close', async (kind) => {
    const server = await serve();
    const wire = await Wire.open(server, { allowHalfOpen: true });
    if (kind === 'idle') {
      const body = bodyOf(item);
      wire.send(head('POST /ingest', { ...json, 'content-length': String(body.length) }) + body);
      acceptedOf(await wire.answer());
    }
    await server.http.stop(600_000);
    expect(await wire.rest()).toBe('');
  });

  it('accepts nothing from an idle client that could not be answered any more', async () => {
    const server = await serve();
    const wire = await Wire.open(server);
    const body = bodyOf(item);
    const post = head('POST /ingest', { ...json, 'content-length': String(body.length) }) + body;
    wire.send(post);
    acceptedOf(await wire.answer());
    const stopped = server.http.stop(600_000);
    wire.send(post);
    expect(await wire.rest().catch(() => '')).toBe('');
    await stopped;
    expect(await bodies(server)).toHaveLength(1);
  });

  it('closes the connection of a query that arrives meanwhile', async () => {
    const server = await serve();
    const wire = await Wire.open(server);
    // Once the first is answered, the server has also read the beginning of the second.
    wire.send(`${head('GET /healthz')}GET /stats?date=2023-06-16 HTTP/1.1\r\nhost: x\r\n`);
    expect((await wire.answer()).headers['connection']).toBe('keep-alive');
    const stopped = server.http.stop(30_000);
    wire.send('\r\n');
    const answer = await wire.answer();
    expect(answer.status).toBe(200);
    expect(answer.headers['connection']).toBe('close');
    expect(await wire.rest()).toBe('');
    await stopped;
  });

  it('cuts off what is not finished in time', async () => {
    const server = await serve();
    const wire = await Wire.open(server);
    const read = followBody(server);
    wire.send(`${head('POST /ingest', { ...json, 'content-length': '100' })}{`);
    await read(1);
    const cut = once(wire.socket, 'close');
    await server.http.stop(1);
    await cut;
    expect(await bodies(server)).toEqual([]);
  });
});

describe('an answer with many rows', () => {
  it.each([1_000, 2_001])('has each of %i rows once, in order', async (rows) => {
    const server = await serve();
    const items = Array.from({ length: rows }, (_, at) => ({ ...item, type: `type ${at}` }));
    acceptedOf(await postBatch(server.url, items));
    await waitUntilCounted(server.url);
    const stats = async (query: string) =>
      JSON.parse((await exchange(server.url, { path: `/stats?${query}` })).text) as unknown;
    const types = items.map(({ type }) => type).sort();
    expect(await stats('date=2023-06-16')).toEqual(
      types.map((type) => counter({ ...item, type }, 1)),
    );
    expect(await stats('date=2023-06-16&group_by=state')).toEqual([
      { state: item.state, count: rows },
    ]);
  });
});

describe('the page of a day', () => {
  const hostile = [
    `<script>alert(1)</script>`,
    `"><img src=x onerror=alert(1)>`,
    `'--></style></table><!--`,
    `&lt;b&gt; &amp; &#60;`,
    '\u202eright to left',
    '{{constructor}} ${x}',
    '💻 caf\u00e9',
  ];

  async function page(server: TestServer, date = '2023-06-16') {
    const answer = await exchange(server.url, { path: `/stats-html?date=${date}` });
    expect(answer.status).toBe(200);
    const errors: string[] = [];
    const document = parse(answer.text, {
      onParseError: ({ code }) => errors.push(code),
      sourceCodeLocationInfo: true,
    });
    expect(errors).toEqual([]);
    // The parser repairs unclosed and misplaced elements; only missing tags show that.
    const mended = elements(document).filter(({ tagName, sourceCodeLocation: at }) => {
      return (
        !['meta', 'input'].includes(tagName) &&
        (at?.startTag === undefined || at.endTag === undefined)
      );
    });
    expect(mended.map(({ tagName }) => tagName)).toEqual([]);
    return { ...answer, document };
  }

  it('shows names as text, whatever they contain', async () => {
    const server = await serve();
    const items = hostile.flatMap((type) => hostile.map((state) => ({ ...item, type, state })));
    acceptedOf(await postBatch(server.url, items));
    await waitUntilCounted(server.url);
    const { document, headers } = await page(server);
    expect(headers['content-type']).toBe('text/html; charset=utf-8');
    const rows = tablesOf(document, 'rows')
      .flatMap((table) => elements(table, 'tbody'))
      .flatMap((body) => elements(body, 'tr'))
      .map((row) => elements(row, 'td').slice(0, 3).map(textOf));
    const pairs = (await counts(server)).map(({ type, state }) => [type, state, '1']);
    expect(pairs).toHaveLength(hostile.length ** 2);
    expect(rows).toEqual(pairs);
    const foot = elements(document, 'tfoot').flatMap((row) => elements(row, 'td').map(textOf));
    expect(foot).toEqual([String(pairs.length), '100%']);
    for (const name of ['script', 'img', 'link', 'iframe']) {
      expect(elements(document, name), name).toEqual([]);
    }
    const addresses = elements(document, 'a').map(({ attrs }) => attrs.find(isHref)?.value ?? '');
    expect(
      addresses.filter(
        (address) => !/^(?:stats)?\?date=[\d-]+(?:&format=csv&bom=1)?$/.test(address),
      ),
    ).toEqual([]);
  });

  it('allows its own style and nothing else', async () => {
    const { document, headers } = await page(await serve());
    const policy = String(headers['content-security-policy']);
    const [style, ...more] = elements(document, 'style');
    if (style === undefined) expect.fail('no style');
    expect(more).toEqual([]);
    const hash = createHash('sha256').update(textOf(style)).digest('base64');
    expect(policy.split('; ').sort()).toEqual([
      "base-uri 'none'",
      "default-src 'none'",
      "form-action 'self'",
      "frame-ancestors 'none'",
      `style-src 'sha256-${hash}'`,
    ]);
    expect(headers['x-content-type-options']).toBe('nosniff');
  });

  it('of a day without counters says so', async () => {
    const { document } = await page(await serve(), '2001-01-01');
    expect(tablesOf(document, 'rows')).toEqual([]);
    expect(tablesOf(document, 'calendar')).toHaveLength(1);
    expect(elements(document, 'p').map(textOf)).toEqual([
      'Days as written in the timestamps. Darker days have more events.',
      'Nothing was counted on this day.',
    ]);
  });

  it("is the target of the root's redirect until the dashboard is built", async () => {
    const { url } = await serve();
    const { status, text } = await exchange(url, { path: '/' });
    expect(status).toBe(200);
    expect(text).toContain('npm run build:dashboard');
    expect(text).toMatch(/href="stats-html\?date=\d{4}-\d{2}-\d{2}"/);
  });
});

const taken: IngestOutcome = {
  accepted: true,
  batchId: 'x',
  rawKey: 'raw/x',
  enqueued: 1,
  rejected: 0,
  errors: [],
};

/** The HTTP side alone, on a pipeline that the test implements. */
async function serveHttp(
  pipeline: Ingest<BorrowedBody>,
  options: { readonly timeouts?: HttpTimeouts } = {},
): Promise<Pick<TestServer, 'port' | 'http'>> {
  const unused = () => Promise.reject(new Error('the test does not play this'));
  const http = createHttpServer({
    pipeline: { stats: unused, receipt: unused, status: unused, ...pipeline },
    bodyBytesMax: 10_000,
    bodiesBytesMax: 10_000,
    onUnexpectedError: (error) => {
      throw error;
    },
    ...options,
  });
  http.server.listen(0, '127.0.0.1');
  await once(http.server, 'listening');
  onTestFinished(() => http.stop(0));
  return { http, port: (http.server.address() as AddressInfo).port };
}

// What follows is the language of the tests above, below the level of an HTTP client.

function head(start: string, headers: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries({ host: 'localhost', ...headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  return `${start} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

const lastChunk = '0\r\n\r\n';

function chunk(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}

interface WireAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** The client's end of a connection. */
class Wire {
  readonly socket: Socket;
  #received = '';
  #hasEnded = false;
  #error: Error | undefined;

  static async open(
    { port }: Pick<TestServer, 'port'>,
    options: { readonly allowHalfOpen?: boolean } = {},
  ): Promise<Wire> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true, ...options });
    await once(socket, 'connect');
    onTestFinished(() => void socket.destroy());
    return new Wire(socket);
  }

  /** The server's end. */
  static async openBoth(
    server: Pick<TestServer, 'http' | 'port'>,
    options: { readonly allowHalfOpen?: boolean } = {},
  ): Promise<[Wire, Socket]> {
    const accepted = once(server.http.server, 'connection') as Promise<[Socket]>;
    const wire = await Wire.open(server, options);
    const [connection] = await accepted;
    return [wire, connection];
  }

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text) => (this.#received += String(text)));
    socket.on('end', () => (this.#hasEnded = true));
    socket.on('error', (error) => (this.#error = error));
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  end(): void {
    this.socket.end();
  }

  /** The next answer, which may be an interim one. */
  async answer({ isHead = false } = {}): Promise<WireAnswer> {
    for (;;) {
      const answer = this.#takeAnswer(isHead);
      if (answer !== undefined) return answer;
      if (this.#hasEnded) throw new Error(`the connection ended in: ${this.#received}`);
      await this.#more();
    }
  }

  /** The remaining answers until the server ends the connection properly. */
  async rest(): Promise<string> {
    while (!this.#hasEnded) await this.#more();
    if (this.#error !== undefined) throw this.#error;
    return this.#received;
  }

  #takeAnswer(isHead: boolean): WireAnswer | undefined {
    const end = this.#received.indexOf('\r\n\r\n');
    if (end < 0) return undefined;
    const [start = '', ...lines] = this.#received.slice(0, end).split('\r\n');
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(start)?.[1]);
    const headers = Object.fromEntries(
      lines.map((line) => [
        line.slice(0, line.indexOf(':')).toLowerCase(),
        line.slice(line.indexOf(':') + 1).trim(),
      ]),
    );
    const hasBody = status >= 200 && status !== 204 && !isHead;
    const length = hasBody ? Number(headers['content-length']) : 0;
    if (Number.isNaN(length)) throw new Error(`an answer without a length: ${this.#received}`);
    const rest = Buffer.from(this.#received.slice(end + 4));
    if (rest.length < length) return undefined;
    this.#received = rest.subarray(length).toString();
    return { status, headers, text: rest.subarray(0, length).toString() };
  }

  /** Resolves once something has happened; rejects when nothing more can happen. */
  async #more(): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    if (this.socket.destroyed) throw new Error('the connection was cut');
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const wake = () => resolve(undefined);
    const events = ['data', 'end', 'close'];
    for (const event of events) this.socket.once(event, wake);
    await promise;
    for (const event of events) this.socket.off(event, wake);
  }
}

async function nextRequest(server: Pick<TestServer, 'http'>): Promise<IncomingMessage> {
  const [request] = (await once(server.http.server, 'request')) as [IncomingMessage];
  return request;
}

/** Follows the body of the next request; resolves once the server has read that number of bytes. */
function followBody(server: Pick<TestServer, 'http'>): (bytes: number) => Promise<void> {
  const reads = new EventEmitter();
  let read = 0;
  server.http.server.once('request', (request: IncomingMessage) => {
    request.on('data', (part: Buffer) => {
      read += part.length;
      reads.emit('read');
    });
  });
  return async (bytes) => {
    while (read < bytes) await once(reads, 'read');
  };
}

/** Resolves once the socket is closed, also after an error. */
async function closeOf(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  socket.once('close', () => resolve(undefined));
  if (!socket.closed) await promise;
}

/** Keeps the counters from being written until the returned function is called. */
function holdCounters({ dataDir }: TestServer): () => void {
  const database = new DatabaseSync(join(dataDir, 'pipeline.db'));
  database.exec('BEGIN IMMEDIATE');
  return () => {
    database.exec('ROLLBACK');
    database.close();
  };
}

/** Forwards requests to a port and cuts off the client when the first bytes of a response arrive. */
async function startLossyProxy(port: number) {
  const { promise: lostAnswer, resolve } = Promise.withResolvers<string>();
  const proxy = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    client.pipe(upstream);
    client.on('error', () => upstream.destroy());
    upstream.once('data', (bytes) => {
      client.destroy();
      upstream.destroy();
      resolve(String(bytes));
    });
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  onTestFinished(() => void proxy.close());
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, lostAnswer };
}

/** The elements in a document or an element, or those with a name. */
const isHref = ({ name }: { readonly name: string }) => name === 'href';

function elements(node: Tree.Node, name?: string): Tree.Element[] {
  const children = 'childNodes' in node ? node.childNodes : [];
  const below = children.flatMap((child) => elements(child, name));
  const isOne = 'tagName' in node && (name === undefined || node.tagName === name);
  return isOne ? [node, ...below] : below;
}

function tablesOf(document: Tree.Node, ofClass: string): Tree.Element[] {
  return elements(document, 'table').filter(({ attrs }) =>
    attrs.some(({ name, value }) => name === 'class' && value === ofClass),
  );
}

function textOf(node: Tree.Node): string {
  if ('value' in node) return node.value;
  return 'childNodes' in node ? node.childNodes.map(textOf).join('') : '';
}
