import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';

import type { APIGatewayProxyEventV2 } from 'aws-lambda';

import { createHttpFront } from '../../infra/local/gateway/http-front.ts';
import { tokenHash, type RateLimit, type Scope } from '../../src/auth/token.ts';
import type { ProblemCode } from '../../src/domain/problem.ts';
import { serverAccess, TokenTable } from '../../src/auth/check-access.ts';
import { hostRule } from '../../src/http/app/allowed-hosts.ts';
import { answerGatewayEvent } from '../../src/http/app/api-gateway.ts';
import { createHttpServer } from '../../src/http/server/server.ts';
import {
  Unavailable,
  type BorrowedBody,
  type Ingest,
  type Queries,
} from '../../src/pipeline/ports.ts';
import { exchange, postBatch, startServer, type Received, type Sent } from './server.ts';

/** A request, as the document names it (path undefined: not in the document), and its response. */
export interface Provoked {
  readonly method: 'get' | 'post' | 'put';
  readonly path: string | undefined;
  readonly received: Received;
}

const item = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
const bad = { ...item, type: '' };
const rawKey = 'raw/2023-06-17T08:00:00.123Z-00000010-0040-8f3a-9c41-5d0e6f2b7a18.json';
const claim = { raw_key: rawKey, accepted: 1, rejected: 0 };

type Batch = Parameters<typeof postBatch>[1];
type Options = Parameters<typeof startServer>[0];

type Sending = readonly [Batch, Record<string, string>?];

/** The response to the last of some batches, sent one after the other. */
async function post(url: string, ...batches: readonly Sending[]): Promise<Provoked> {
  let received: Received | undefined;
  for (const [batch, headers] of batches) received = await postBatch(url, batch, headers);
  if (received === undefined) throw new Error('no batch was sent');
  return { method: 'post', path: '/ingest', received };
}

/** The same, to a server of its own. */
async function postTo(options: Options, ...batches: readonly Sending[]): Promise<Provoked> {
  await using server = await startServer(options);
  return await post(server.url, ...batches);
}

/** A server that requires a token; `ingest` is the text of one with that scope. */
export function closedServer(rate?: RateLimit) {
  const token = (name: string, scopes: readonly Scope[]) => ({
    ...{ name, sha256: tokenHash(name), for: scopes, expiresAt: undefined },
  });
  const table = new TokenTable([token('ingest', ['ingest']), token('read', ['read'])]);
  return startServer({
    http: {
      access: serverAccess({ tokens: () => table, isOpenWithoutTokens: true, rate }),
      metrics: () => Promise.resolve({ status: 200, headers: {}, body: '' }),
    },
  });
}

/** The response of the real HTTP side if the pipeline behind it does this. */
async function ofFault(
  fault: Partial<Ingest<BorrowedBody> & Queries>,
  path: string,
  sent: Sent,
  method: 'get' | 'post' = 'get',
): Promise<Provoked> {
  const unused = () => Promise.reject(new Error('not asked here'));
  const pipeline: Ingest<BorrowedBody> & Queries = {
    ...{ ingest: unused, query: unused, stats: unused, receipt: unused },
    status: () =>
      Promise.resolve({
        ...{ unavailable: undefined, deadLetters: 0 },
        ...{ pending: { unit: 'items', amount: 0, bytes: 0 } },
        ...{ countedThrough: undefined, lastReceivedAt: undefined },
      }),
    ...fault,
  };
  const http = createHttpServer({
    ...{ pipeline, bodyBytesMax: 1_000_000, bodiesBytesMax: 1_000_000 },
    onUnexpectedError: () => undefined,
  });
  await new Promise<void>((resolve) => http.server.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = http.server.address() as AddressInfo;
    return { method, path, received: await exchange(`http://127.0.0.1:${port}`, sent) };
  } finally {
    await http.stop(0);
  }
}

const timeouts = {
  ...{ headersMs: 100, requestMs: 200, keepAliveMs: 1_000, checkMs: 25 },
  ...{ lingerMs: 100, readMs: 1_000 },
};
const receiptOf = { path: '/ingest/00000010-0040-8f3a-9c41-5d0e6f2b7a18' };
const stats = { path: '/stats?date=2023-06-16' };

/** A request for each problem code that is refused with it; the compiler refuses missing codes. */
export function provocations(url: string): Readonly<Record<ProblemCode, () => Promise<Provoked>>> {
  const postOne = (...sending: Sending) => post(url, sending);
  const get = async (path: string | undefined, sent: Sent): Promise<Provoked> => ({
    ...{ method: 'get', path, received: await exchange(url, sent) },
  });
  const getStats = (query: string) => get('/stats', { path: `/stats?${query}` });
  return {
    empty_body: () => postOne(''),
    invalid_json: () => postOne('{'),
    invalid_body: () => postOne('[]'),
    invalid_gzip: () => postOne('no gzip', { 'content-encoding': 'gzip' }),
    no_valid_items: () => postOne([bad]),
    invalid_items: () => postOne([item, bad], { prefer: 'handling=strict' }),
    invalid_idempotency_key: () => postOne([item], { 'idempotency-key': 'a b' }),
    invalid_replay: () => postOne([item], { 'replay-of': 'nonsense' }),
    missing_date: () => getStats(''),
    invalid_date: () => get('/stats-html', { path: '/stats-html?date=2023-02-30' }),
    invalid_range: () => getStats('from=2023-06-16'),
    invalid_group_by: () => getStats('date=2023-06-16&group_by=colour'),
    invalid_filter: () => getStats('date=2023-06-16&type='),
    invalid_format: () => getStats('date=2023-06-16&format=xml'),
    unknown_parameter: () => getStats('date=2023-06-16&typ=laptop'),
    answer_too_large: () =>
      ofFault({ stats: () => Promise.resolve({ kind: 'too_large' }) }, '/stats', stats),
    malformed_request: () => get('/healthz', { path: '/healthz', headers: { host: 'a b' } }),
    async unauthorized() {
      await using server = await closedServer();
      return { method: 'post', path: '/ingest', received: await postBatch(server.url, [item]) };
    },
    async forbidden() {
      await using server = await closedServer();
      const headers = { authorization: 'Bearer ingest' };
      const received = await exchange(server.url, { ...stats, headers });
      return { method: 'get', path: '/stats', received };
    },
    not_found: () => get(undefined, { path: '/nothing' }),
    batch_not_found: () => get('/ingest/{batchId}', receiptOf),
    async method_not_allowed() {
      const { received } = await get(undefined, { method: 'PUT', path: '/stats' });
      return { method: 'put', path: undefined, received };
    },
    request_timeout: () => postTo({ http: { timeouts } }, ['{', { 'content-length': '100' }]),
    body_too_large: () => postTo({ bodyBytesMax: 100 }, [[item, item]]),
    unsupported_media_type: () => postOne([item], { 'content-type': 'text/plain' }),
    async compression_not_supported() {
      const front = createHttpFront({
        routes: [{ routeKey: 'POST /ingest', role: 'ingest', throttle: undefined }],
        ...{ accountId: '000000000000', compressedAs: 'text' },
        async invoke(_, payload) {
          const event = JSON.parse(payload) as APIGatewayProxyEventV2;
          const fetch = () => Promise.reject(new Error('not asked here'));
          const result = await answerGatewayEvent(fetch, event);
          return { kind: 'succeeded', payload: JSON.stringify(result) };
        },
      });
      const port = await front.listen('127.0.0.1', 0);
      try {
        const body = gzipSync('{"processed_devices":[]}');
        const url = `http://127.0.0.1:${port}`;
        const provoked = await post(url, [body, { 'content-encoding': 'gzip' }]);
        // The code of the gateway itself, which no document of ours has.
        delete provoked.received.headers['apigw-requestid'];
        return provoked;
      } finally {
        await front.stop(0);
      }
    },
    async host_not_allowed() {
      await using server = await startServer({ http: { hostRule: hostRule('127.0.0.1', []) } });
      const headers = { host: 'evil.example' };
      return {
        ...{ method: 'get', path: '/stats' },
        received: await exchange(server.url, { ...stats, headers }),
      };
    },
    idempotency_key_reused: () =>
      post(
        url,
        [[item], { 'idempotency-key': 'one' }],
        [[item, item], { 'idempotency-key': 'one' }],
      ),
    replay_conflict: () =>
      post(
        url,
        [[item], { 'replay-of': JSON.stringify(claim) }],
        [[{ ...item, type: 'phone' }], { 'replay-of': JSON.stringify(claim) }],
      ),
    replay_differs: () =>
      postOne([item], { 'replay-of': JSON.stringify({ ...claim, accepted: 2 }) }),
    replay_undecidable: () => {
      const problem = {
        code: 'replay_undecidable',
        detail: 'It is too old to be decided.',
      } as const;
      const body = JSON.stringify({ processed_devices: [item] });
      const headers = { 'content-type': 'application/json', 'replay-of': JSON.stringify(claim) };
      const sent = { method: 'POST', path: '/ingest', headers, body };
      const ingest = () => Promise.resolve({ accepted: false, problem } as const);
      return ofFault({ ingest }, '/ingest', sent, 'post');
    },
    async too_many_requests() {
      await using server = await closedServer({ perSecond: 0.001, burst: 1 });
      const sent = { ...stats, headers: { authorization: 'Bearer read' } };
      await exchange(server.url, sent);
      return { method: 'get', path: '/stats', received: await exchange(server.url, sent) };
    },
    headers_too_large: () =>
      get('/healthz', { path: '/healthz', headers: { 'x-large': 'x'.repeat(20_000) } }),
    internal: () =>
      ofFault(
        { receipt: () => Promise.reject(new Error('a defect')) },
        '/ingest/{batchId}',
        receiptOf,
      ),
    overloaded: () => postTo({ http: { bodiesBytesMax: 10 } }, [[item]]),
    stopping: () =>
      ofFault(
        { stats: () => Promise.reject(new Unavailable('stopping', 'The server is stopping.')) },
        ...(['/stats', stats] as const),
      ),
    storage_failed: () =>
      ofFault(
        { status: () => Promise.reject(new Unavailable('storage_failed', 'The disk is full.')) },
        ...(['/readyz', { path: '/readyz' }] as const),
      ),
    archive_unavailable: () => {
      const problem = {
        code: 'archive_unavailable',
        detail: 'It is away.',
        retryAfterSeconds: 5,
      } as const;
      const ingest = () => Promise.resolve({ accepted: false, problem } as const);
      const headers = { 'content-type': 'application/json' };
      const sent = { method: 'POST', path: '/ingest', headers, body: '{"processed_devices":[]}' };
      return ofFault({ ingest }, '/ingest', sent, 'post');
    },
  };
}
