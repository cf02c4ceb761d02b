import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { tokenHash } from '../../src/auth/token.ts';
import { serverAccess, TokenTable } from '../../src/auth/check-access.ts';
import { hostRule } from '../../src/http/app/allowed-hosts.ts';
import { createHttpServer, type HttpServer } from '../../src/http/server/server.ts';
import type { BorrowedBody, IngestOutcome, Submission } from '../../src/pipeline/ports.ts';
import { seededRandom } from '../support/processes/server-process.ts';
import { rounds } from '../support/run/tier.ts';

/*
 * Plain requests are served without node:http. For all requests, in any pieces, the responses and the
 * batches passed to the pipeline are those that node:http would have given.
 */

type Random = () => number;

const streams = rounds({ what: 'streams of requests', quick: 250, nightly: 20_000 });
/** So large that the memory of some pieces is freed once the pipeline has them. */
const bodyBytesMax = 6_000;

let http: HttpServer;
const noTokens = new TokenTable(undefined);
const someTokens = new TokenTable(
  (['ingest', 'read'] as const).map((name) => {
    return { name, sha256: tokenHash(name), for: [name], expiresAt: undefined };
  }),
);
/** Those of the server, which changes its mind from stream to stream. */
let tokens = noTokens;
/** The batches that the tested connection passed to the pipeline. */
let submitted: string[] = [];

beforeAll(async () => {
  const unused = () => Promise.reject(new Error('not asked for here'));
  http = createHttpServer({
    pipeline: {
      stats: unused,
      receipt: unused,
      status: () =>
        Promise.resolve({
          unavailable: undefined,
          pending: { unit: 'items', amount: 0 },
          deadLetters: 0,
          countedThrough: undefined,
          lastReceivedAt: undefined,
        }),
      ingest: async (lent) => {
        const submission = { ...lent, body: bytesOf(lent.body) };
        submitted.push(describeSubmission(submission));
        await turn();
        return outcomeOf(submission);
      },
    },
    access: serverAccess({ tokens: () => tokens, isOpenWithoutTokens: true }),
    hostRule: hostRule('127.0.0.1', ['x']),
    corsOrigins: ['https://app.example'],
    bodyBytesMax,
    bodiesBytesMax: 100_000,
    onUnexpectedError: (error) => {
      throw error;
    },
  });
  http.server.listen(0, '127.0.0.1');
  await once(http.server, 'listening');
});

afterAll(() => http.stop(0));

it(`answers ${streams} streams of requests as node:http does`, { timeout: 600_000 }, async () => {
  let accepted = 0;
  for (let seed = 1; seed <= streams; seed++) {
    const random = seededRandom(seed);
    tokens = random() < 0.5 ? noTokens : someTokens;
    const bytes = streamOf(random);
    const pieces = piecesOf(bytes, random);
    const [plain, node] = [await exchange(pieces, false), await exchange(pieces, true)];
    expect(plain, `seed ${seed}: ${JSON.stringify(bytes)}`).toEqual(node);
    accepted += plain.submitted.length;
  }
  // The streams are not all nonsense.
  expect(accepted).toBeGreaterThan(streams / 3);
});

function bytesOf(body: BorrowedBody): Uint8Array {
  const pieces = 'buffer' in body ? [body] : body;
  return Buffer.concat(
    pieces.map(({ buffer, byteOffset, length }) => new Uint8Array(buffer, byteOffset, length)),
  );
}

function describeSubmission({ body, ...rest }: Submission): string {
  const members = Object.entries(rest).sort();
  return JSON.stringify([...members, Buffer.from(body).toString('latin1')]);
}

/** Hangs on the body, so that answers cannot be mixed up. */
function outcomeOf({ body, idempotencyKey = '' }: Submission): IngestOutcome {
  const text = Buffer.from(body).toString('latin1');
  if (body.length % 5 === 1) {
    return { accepted: false, problem: { code: 'invalid_json', detail: `Not JSON: é ${text}` } };
  }
  const errors = [{ index: 0, field: 'type', code: 'missing', message: 'ü' }] as const;
  const rejected = body.length % 5 === 2 ? 1 : 0;
  return {
    accepted: true,
    batchId: `${body.length}-${idempotencyKey}`,
    rawKey: `raw/${body.length}`,
    enqueued: body.length,
    rejected,
    errors: rejected > 0 ? errors : [],
  };
}

const requestLines = [
  ...Array<string>(12).fill('POST /ingest HTTP/1.1'),
  'POST /ingest HTTP/1.0',
  'POST /ingest?a=b HTTP/1.1',
  'POST /ingest/ HTTP/1.1',
  'POST  /ingest HTTP/1.1',
  'post /ingest HTTP/1.1',
  'PUT /ingest HTTP/1.1',
  'POST http://x/ingest HTTP/1.1',
  'POST http://evil/ingest HTTP/1.1',
  'GET /healthz HTTP/1.1',
  '\r\nPOST /ingest HTTP/1.1',
];

const otherHeaders = [
  'accept: */*',
  'authorization: Bearer ingest',
  'Authorization: bearer   ingest ',
  'authorization: Bearer read',
  'authorization: Bearer unknown',
  'authorization: Basic aW5nZXN0',
  'authorization:',
  'origin: https://app.example',
  'origin: https://other.example',
  'Accept-Encoding: gzip, br',
  'user-agent: a client/1.0 (some (thing))',
  'connection: keep-alive',
  'Connection: Keep-Alive',
  'connection: close',
  'connection: keep-alive, x',
  'idempotency-key: k1',
  'Idempotency-Key:   k2  ',
  'idempotency-key: two words',
  'idempotency-key: ',
  'prefer: handling=strict',
  'content-encoding: identity',
  'content-encoding: gzip',
  'transfer-encoding: chunked',
  'transfer-encoding: identity',
  'content-length: 3',
  'content-type: application/json',
  'content-type: text/plain',
  'host: other',
  'host:',
  'host: a b',
  'transfer-encoding: gzip, chunked',
  'x-request-id: 7',
  'x-other: any',
  'x-other : any',
  ' folded: line',
  'no colon',
  ': no name',
  'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  'accept: \u00e9',
  'accept: a\u0000b',
  'accept: a\tb',
  'accept:',
  'upgrade: websocket',
  'expect: 100-continue',
  `accept: ${'a'.repeat(2100)}`,
];

function streamOf(random: Random): string {
  let bytes = '';
  for (let requests = pick(random, [1, 1, 1, 2, 3]); requests > 0; requests--) {
    bytes += requestOf(random);
  }
  if (random() < 0.3) bytes = mutate(bytes, random);
  return bytes;
}

function requestOf(random: Random): string {
  const body = 'b'.repeat(pick(random, [0, 1, 2, 10, 100, 101, 1500, 5_000, bodyBytesMax, 6_001]));
  const length =
    random() < 0.9 ? String(body.length) : pick(random, ['', '+3', '0003', '3, 3', '-1', '1e2']);
  const host = pick(random, [...Array<string>(16).fill('x'), 'X:80', 'x.', 'LocalHost', 'evil']);
  const headers = [`host: ${host}`, 'content-type: application/json', `content-length: ${length}`];
  if (random() < 0.9) headers.push('authorization: Bearer ingest');
  if (random() < 0.1) headers.splice(Math.floor(random() * 3), 1);
  while (random() < 0.35) headers.splice(Math.floor(random() * 4), 0, pick(random, otherHeaders));
  const lineEnd = random() < 0.97 ? '\r\n' : '\n';
  return [pick(random, requestLines), ...headers, '', body].join(lineEnd);
}

function mutate(bytes: string, random: Random): string {
  const at = Math.floor(random() * Math.min(bytes.length, 200));
  const inserted = pick(random, ['', '\r', '\n', ' ', ':', '\u0000', '\u00ff', '\r\n', 'a', '0']);
  return bytes.slice(0, at) + inserted + bytes.slice(at + pick(random, [0, 1, 2]));
}

/** Mostly whole; else cut at some places. */
function piecesOf(bytes: string, random: Random): string[] {
  if (random() < 0.4) return [bytes];
  const cuts = Array.from({ length: pick(random, [1, 2, 5]) }, () => random() * bytes.length);
  const places = [0, ...cuts.map(Math.floor).sort((a, b) => a - b), bytes.length];
  return places.slice(1).map((end, index) => bytes.slice(places[index], end));
}

/** All received bytes for the pieces, and the batches passed to the pipeline. */
async function exchange(pieces: readonly string[], isNodes: boolean) {
  submitted = [];
  const { port } = http.server.address() as AddressInfo;
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  let received = '';
  socket.setEncoding('latin1');
  socket.on('data', (text: string) => (received += text));
  socket.on('error', () => undefined);
  const closed = once(socket, 'close').catch(() => undefined);
  await once(socket, 'connect');
  if (isNodes) {
    // From its first request that is not plain on, a connection is node:http's.
    socket.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n');
    while (!received.includes('"ok"')) await once(socket, 'data');
    received = '';
  }
  for (const piece of pieces) {
    socket.write(piece, 'latin1');
    await turn();
  }
  socket.end();
  await closed;
  return { answers: answersOf(received), submitted };
}

/**
 * Without what may differ: the date, the id of a request, the case and order of headers, and the headers
 * about the connection.
 */
function answersOf(received: string): string[] {
  // Node sends the interim response before or after a response in progress.
  const final = received.replaceAll('HTTP/1.1 100 Continue\r\n\r\n', '');
  return final.split(/(?=HTTP\/1\.1 \d{3} )/).map((answer) => {
    const [head = '', ...rest] = answer.split('\r\n\r\n');
    const lines = head
      .split('\r\n')
      .map((line) => line.replace(/^[^:]+:/, (name) => name.toLowerCase()))
      .filter((line) => !/^(?:date|connection|keep-alive|x-request-id):/.test(line));
    return [...lines.sort(), '', ...rest].join('\n');
  });
}

function pick<T>(random: Random, values: readonly T[]): T {
  return values[Math.floor(random() * values.length)] as T;
}
