import { once } from 'node:events';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';

import { expect, it, onTestFinished } from 'vitest';

import { countersOf } from '../../support/counters.ts';
import { postBatch, startServer, waitUntilCounted, type TestServer } from '../../support/server.ts';

const item = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
const body = JSON.stringify({ processed_devices: [item] });

function post(lines: readonly string[], text = body, version = '1.1'): string {
  const head = [`POST /ingest HTTP/${version}`, 'Content-Type: application/json', ...lines];
  return [...head, '', text].join('\r\n');
}

const valid = post(['Host: x', `Content-Length: ${body.length}`]);
const chunks = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;

async function serve(): Promise<TestServer> {
  const server = await startServer();
  onTestFinished(() => server.stop());
  return server;
}

/** All statuses of the responses to what a client sends before it ends its side. */
async function statuses({ port }: TestServer, text: string): Promise<number[]> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  let received = '';
  socket.setEncoding('latin1').on('data', (piece: string) => (received += piece));
  socket.end(text, 'latin1');
  await once(socket, 'close');
  const all = [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
  // A probe shows whether a client that has ended its side still exists.
  return all.filter((status) => status !== 102);
}

async function itemsCounted({ pipeline, url }: TestServer): Promise<number> {
  await waitUntilCounted(url);
  return (await countersOf(pipeline)).reduce((sum, { count }) => sum + count, 0);
}

const length = `Content-Length: ${body.length}`;

it.each([
  ['names two hosts', post(['Host: x', 'Host: y', length])],
  ['names one host twice', post(['Host: x', 'Host: x', length])],
  ['names no host', post([length])],
  ['names what is no host', post(['Host: x/y', length])],
  ['names two hosts in one', post(['Host: x,y', length])],
  ['has an unknown transfer coding', post(['Host: x', 'Transfer-Encoding: gzip, chunked'], chunks)],
  ['is in chunks by HTTP/1.0', post(['Host: x', 'Transfer-Encoding: chunked'], chunks, '1.0')],
  [
    'is in chunks by HTTP/1.0, on a connection that is kept',
    post(['Host: x', 'Connection: keep-alive', 'Transfer-Encoding: chunked'], chunks, '1.0'),
  ],
])('a request that %s is refused, and what follows it is ignored', async (_, invalid) => {
  const server = await serve();
  expect(await statuses(server, invalid + valid)).toEqual([400]);
  expect(await statuses(server, valid + invalid + valid)).toEqual([200, 400]);
  expect(await itemsCounted(server)).toBe(1);
});

it('what follows a body that is too long is ignored', async () => {
  const server = await serve();
  const tooLong = ' '.repeat(4 * 1024 * 1024 + 1);
  const declared = post(['Host: x', `Content-Length: ${tooLong.length}`], tooLong);
  const inChunks = `${tooLong.length.toString(16)}\r\n${tooLong}\r\n0\r\n\r\n`;
  const chunked = post(['Host: x', 'Transfer-Encoding: chunked'], inChunks);
  for (const refused of [declared, chunked]) {
    expect(await statuses(server, refused + valid)).toEqual([413]);
  }
  expect(await itemsCounted(server)).toBe(0);
});

it.each([
  ['x', 1],
  ['x:80', 1],
  ['[::1]:8080', 1],
  ['127.0.0.1:', 1],
  ['xn--bcher-kva.example', 1],
  ['', 1],
])('the host %j is valid', async (host, items) => {
  const server = await serve();
  expect(await statuses(server, post([`Host: ${host}`, length]))).toEqual([200]);
  expect(await itemsCounted(server)).toBe(items);
});

it.each(['http:///stats?date=2023-06-16', 'http://?date=2023-06-16', 'ftp://x/stats', 'stats'])(
  'the target %s names no path of this server',
  async (target) => {
    const server = await serve();
    expect(await statuses(server, `GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`)).toEqual([400]);
  },
);

it('no Host leads to a 5xx, whether or not it makes a valid URL', async () => {
  const server = await serve();
  const hosts = [
    'pipeline.1',
    'svc.123:8080',
    '1.2.3.400',
    '0x7f.1',
    '1.2.3.4.5',
    '%41',
    '%',
    '%zz',
  ];
  hosts.push(
    'a..b',
    '.',
    '-',
    '~',
    'xn--a',
    '[::1]:80',
    '[:::]',
    '[1.2.3.4]',
    'x:65535',
    'x:65536',
    ':',
  );
  const lines = ['/stats?date=2023-06-16', '/stats-html?date=2023-06-16', '/', '/nothing', '/docs']
    .map((path) => `GET ${path} HTTP/1.1`)
    .concat('OPTIONS /stats HTTP/1.1', 'POST /stats HTTP/1.1', 'GET /ingest/1 HTTP/1.1');
  const absolute = 'GET http://HOST/stats?date=2023-06-16 HTTP/1.1';
  const seen = new Map<string, readonly number[]>();
  for (const host of hosts) {
    const requests = [...lines, absolute.replace('HOST', host)].map((line) =>
      statuses(server, `${line}\r\nHost: ${host}\r\nConnection: close\r\n\r\n`),
    );
    const all = (await Promise.all(requests)).flat();
    expect(all, host).toHaveLength(lines.length + 1);
    seen.set(host, [...new Set(all)].sort());
  }
  const failed = [...seen].filter(([, all]) => all.some((status) => status >= 500));
  expect(failed).toEqual([]);
  const answered = [200, 204, 404, 405];
  expect(seen.get('pipeline.1')).toEqual(answered);
  expect(seen.get('svc.123:8080')).toEqual(answered);
  expect(seen.get('1.2.3.400')).toEqual(answered);
  expect(seen.get('x:65535')).toEqual(answered);
  expect(seen.get('x:65536')).toEqual([400]);
  expect(seen.get('%zz')).toEqual([400]);
});

it.each(['plain', 'not plain'])(
  'a client that ends its side after its requests is answered (%s)',
  async (kind) => {
    const server = await serve();
    const lines = ['Host: x', length, ...(kind === 'plain' ? [] : ['X-Other: 1'])];
    expect(await statuses(server, post(lines))).toEqual([200]);
    expect(await statuses(server, post(lines).repeat(3))).toEqual([200, 200, 200]);
    expect(await itemsCounted(server)).toBe(4);
  },
);

/** Sends at once; returns how many answers have arrived so far, and a promise for all. */
function sendAll(port: number, text: Buffer, count: number) {
  const socket = connect({ port, host: '127.0.0.1' });
  const all = Promise.withResolvers<undefined>();
  const first = Promise.withResolvers<undefined>();
  let received = '';
  socket.setEncoding('latin1').on('data', (piece: string) => {
    received += piece;
    first.resolve(undefined);
    if (answers() === count) all.resolve(undefined);
  });
  const answers = () => received.split('HTTP/1.1 ').length - 1;
  socket.write(text);
  onTestFinished(() => void socket.destroy());
  return { first: first.promise, all: all.promise, answers };
}

it('many gzip bombs of one client do not delay other clients', async () => {
  const server = await serve();
  const bomb = gzipSync(Buffer.alloc(4 * 1024 * 1024, ' '));
  const head = post(['Host: x', 'Content-Encoding: gzip', `Content-Length: ${bomb.length}`], '');
  const count = 30;
  const bombs = Array<Buffer[]>(count)
    .fill([Buffer.from(head), bomb])
    .flat();
  const hostile = sendAll(server.port, Buffer.concat(bombs), count);
  await hostile.first;
  const compressed = gzipSync(body);
  const encoding = { 'content-encoding': 'gzip' };
  const [plain, zipped] = await Promise.all([
    postBatch(server.url, body),
    postBatch(server.url, compressed, encoding),
  ]);
  expect([plain.status, zipped.status]).toEqual([200, 200]);
  expect(hostile.answers()).toBeLessThan(count / 2);
  await hostile.all;
  expect(await itemsCounted(server)).toBe(2);
});

it('answers all requests of a client that ends its side during the first', async () => {
  const server = await serve();
  const { port } = server;
  const rounds = 40;
  for (let round = 0; round < rounds; round++) {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    let received = '';
    socket.setEncoding('latin1').on('data', (piece: string) => (received += piece));
    socket.write(valid);
    setImmediate(() => socket.end(valid + valid));
    await once(socket, 'close');
    expect(received.match(/HTTP\/1\.1 200 /g)).toHaveLength(3);
  }
  expect(await itemsCounted(server)).toBe(3 * rounds);
});
