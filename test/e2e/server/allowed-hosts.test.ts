import { once } from 'node:events';
import { connect } from 'node:net';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { tokenHash, type Token } from '../../../src/auth/token.ts';
import { serverAccess, TokenTable } from '../../../src/auth/check-access.ts';
import { hostRule } from '../../../src/http/app/allowed-hosts.ts';
import type { AnsweredRequest } from '../../../src/http/server/observer.ts';
import { silentObserver } from '../../../src/http/server/observer.ts';
import { countersOf } from '../../support/counters.ts';
import {
  startServer as startProcess,
  temporaryDirectory,
} from '../../support/processes/server-process.ts';
import { exchange, startServer, waitUntilCounted, type TestServer } from '../../support/server.ts';

const body = JSON.stringify({
  processed_devices: [{ type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' }],
});

let server: TestServer;
let tokens: TokenTable;
const exchanges: AnsweredRequest[] = [];

beforeAll(async () => {
  server = await startServer({
    http: {
      access: serverAccess({ tokens: () => tokens, isOpenWithoutTokens: true }),
      hostRule: hostRule('127.0.0.1', ['pipeline.example']),
      observer: { ...silentObserver, answered: (told) => void exchanges.push(told) },
    },
  });
});
afterAll(() => server.stop());
beforeEach(() => {
  tokens = new TokenTable(undefined);
  exchanges.length = 0;
});

/** A request as bytes; without a host in `lines` it has none. */
function post(line: string, lines: readonly string[]): string {
  const head = [line, 'Content-Type: application/json', `Content-Length: ${body.length}`, ...lines];
  return [...head, '', body].join('\r\n');
}

/** The statuses of all responses to what a client sends on one connection, and the code of the last. */
async function answers(
  text: string,
): Promise<readonly [statuses: readonly number[], code: string]> {
  const socket = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true });
  let received = '';
  socket.setEncoding('latin1').on('data', (piece: string) => (received += piece));
  socket.end(text, 'latin1');
  await once(socket, 'close');
  const statuses = [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) =>
    Number(status),
  );
  return [statuses.filter((status) => status !== 102), /"code":"(\w+)"/.exec(received)?.[1] ?? ''];
}

async function itemsCounted(): Promise<number> {
  await waitUntilCounted(server.url);
  return (await countersOf(server.pipeline)).reduce((sum, { count }) => sum + count, 0);
}

const plain = 'POST /ingest HTTP/1.1';
const evil = 'Host: evil.example';
const refused = [[421], 'host_not_allowed'];

describe('a host name that an attacker points to a server without tokens', () => {
  it.each([
    ['a batch', post(plain, [evil])],
    ['a batch that is not plain', post(plain, [evil, 'X-Other: 1'])],
    ['a batch to a name with a port', post(plain, [`${evil}:8080`])],
    ['a batch by HTTP/1.0', post('POST /ingest HTTP/1.0', [evil])],
    [
      'a batch by a target that names it',
      post('POST http://evil.example/ingest HTTP/1.1', ['Host: localhost']),
    ],
    ['a query', `GET /stats?date=2023-06-16 HTTP/1.1\r\n${evil}\r\n\r\n`],
    ['a query by HEAD', `HEAD /stats?date=2023-06-16 HTTP/1.1\r\n${evil}\r\n\r\n`],
    ['the dashboard', `GET / HTTP/1.1\r\n${evil}\r\n\r\n`],
    ['what there is not', `GET /nothing HTTP/1.1\r\n${evil}\r\n\r\n`],
    ['/healthz written otherwise', `GET /%68ealthz HTTP/1.1\r\n${evil}\r\n\r\n`],
    ['what a browser asks first', `OPTIONS /ingest HTTP/1.1\r\n${evil}\r\n\r\n`],
  ])('gets no data: %s', async (_, text) => {
    const before = await itemsCounted();
    const [statuses, code] = await answers(text);
    expect(statuses).toEqual([421]);
    expect(code).toBe(text.startsWith('HEAD') ? '' : 'host_not_allowed');
    expect(await itemsCounted()).toBe(before);
  });

  it('gets no data after requests that were answered on the connection', async () => {
    const before = await itemsCounted();
    const good = post(plain, ['Host: localhost']);
    expect(await answers(good + good + post(plain, [evil]) + good)).toEqual([
      ...[[200, 200, 421], 'host_not_allowed'],
    ]);
    expect(await itemsCounted()).toBe(before + 2);
  });

  it('gets an answer that says what to do; the refusal is counted and logged like others', async () => {
    const answer = await exchange(server.url, {
      path: '/stats',
      headers: { host: 'evil.example' },
    });
    expect(answer.headers).toMatchObject({ 'content-type': 'application/problem+json' });
    expect(JSON.parse(answer.text)).toMatchObject({
      status: 421,
      detail: expect.stringMatching(/"evil\.example".*--allowed-host NAME/) as string,
    });
    expect(exchanges).toMatchObject([
      {
        ...{ route: '/stats', status: 421, problem: 'host_not_allowed' },
        requestId: answer.headers['x-request-id'],
      },
    ]);
  });
});

it.each([
  ...['localhost', `127.0.0.1:80`, '[::1]:8080', 'LOCALHOST.', 'a.localhost', 'Pipeline.Example'],
  '',
])('the host %j is answered', async (host) => {
  const before = await itemsCounted();
  for (const lines of [[`Host: ${host}`], [`Host: ${host}`, 'X-Other: 1']]) {
    expect(await answers(post(plain, lines))).toEqual([[200], '']);
  }
  expect(await itemsCounted()).toBe(before + 2);
});

it('a request of HTTP/1.0 without a host is answered', async () => {
  expect(await answers(post('POST /ingest HTTP/1.0', []))).toEqual([[200], '']);
});

it('a target that names an allowed host is answered whatever Host says', async () => {
  const line = 'POST http://localhost:80/ingest HTTP/1.1';
  expect(await answers(post(line, [evil]))).toEqual([[200], '']);
});

it('/healthz is answered for any host', async () => {
  expect(await answers(`GET /healthz HTTP/1.1\r\n${evil}\r\n\r\n`)).toEqual([[200], '']);
});

it('any host is answered if a token is required', async () => {
  const token: Token = {
    ...{ name: 'all', sha256: tokenHash('all'), for: ['ingest', 'read'], expiresAt: undefined },
  };
  tokens = new TokenTable([token]);
  const shown = 'Authorization: Bearer all';
  expect(await answers(post(plain, [evil, shown]))).toEqual([[200], '']);
  expect(await answers(post(plain, [evil, shown, 'X-Other: 1']))).toEqual([[200], '']);
  expect(await answers(post(plain, [evil]))).toEqual([[401], 'unauthorized']);
  tokens = new TokenTable(undefined);
  expect(await answers(post(plain, [evil]))).toEqual(refused);
});

it('serve answers the names of --allowed-host and no others', async () => {
  const args = ['--allowed-host', 'a.example', '--allowed-host', 'pipeline.example'];
  const { url } = await startProcess(temporaryDirectory(), { args });
  const statusFor = async (host: string) =>
    (await exchange(url, { path: '/readyz', headers: { host } })).status;
  expect(
    await Promise.all(['pipeline.example', 'a.example:1', 'evil.example'].map(statusFor)),
  ).toEqual([...[200, 200, 421]]);
});
