import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';

import { beforeEach, afterEach, describe, expect, test } from 'vitest';

import { requestOverHttp } from '../../../src/client/http-request.ts';
import { describeFailure } from '../../../src/client/failure-text.ts';
import { readText } from '../../../src/client/post-batch.ts';

let listener: RequestListener;
const server = createServer((request, response) => listener(request, response));
let connections = 0;
server.on('connection', () => (connections += 1));

beforeEach(async () => {
  connections = 0;
  await once(server.listen(0, '127.0.0.1'), 'listening');
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const never = new AbortController().signal;
const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

function get(address = url(), signal = never) {
  return requestOverHttp(`${address}/x`, { method: 'GET', headers: {}, signal });
}

describe('a request', () => {
  test('has the body with its length, and its answer status, headers and text', async () => {
    listener = (request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const { method, url: path, headers } = request;
        const body = Buffer.concat(parts).toString();
        response.writeHead(201, { 'retry-after': '7' });
        response.end(JSON.stringify({ method, path, length: headers['content-length'], body }));
      });
    };
    const headers = { 'content-type': 'text/plain' };
    const post = { method: 'POST', headers, body: 'ä', signal: never } as const;
    const response = await requestOverHttp(`${url()}/x?a=1`, post);
    expect(response.status).toBe(201);
    expect(response.headers.get('retry-after')).toBe('7');
    expect(await response.json()).toEqual({
      ...{ method: 'POST', path: '/x?a=1', length: '2', body: 'ä' },
    });
  });

  test('uses the connection of the one before', async () => {
    listener = (_, response) => response.end('ok');
    for (let times = 0; times < 3; times++) expect(await (await get()).text()).toBe('ok');
    expect(connections).toBe(1);
  });

  test('follows no redirect, and takes an answer without a body', async () => {
    listener = (_, response) => response.writeHead(307, { location: '/y' }).end();
    expect((await get()).headers.get('location')).toBe('/y');
    listener = (_, response) => response.writeHead(204).end();
    expect(await (await get()).text()).toBe('');
  });

  test('is answered in gzip', async () => {
    listener = (_, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('compressed'));
    };
    expect(await (await get()).text()).toBe('compressed');
  });

  test('is answered before the server has taken its body', async () => {
    listener = (_, response) => {
      response.writeHead(413, { connection: 'close' }).end('too large');
    };
    const body = Buffer.alloc(64 * 1024);
    const post = { method: 'POST', headers: {}, body, signal: never } as const;
    const response = await requestOverHttp(url(), post);
    expect([response.status, await response.text()]).toEqual([413, 'too large']);
  });

  test('to a server that ends the connection fails, also amid the answer', async () => {
    listener = (request) => request.destroy();
    const hungUp = await get().catch((error: unknown) => error);
    expect(describeFailure(hungUp, 1).code).toBe('ECONNRESET');
    listener = (request, response) => {
      response.writeHead(200, { 'content-length': '10' }).write('half', () => request.destroy());
    };
    const response = await get();
    const cut = await readText(response, 100).catch((error: unknown) => error);
    expect(describeFailure(cut, 1).code).toBe('ECONNRESET');
  });

  test('that is aborted rejects with the reason, also amid the answer', async () => {
    const timeout = new DOMException('late', 'TimeoutError');
    const before = new AbortController();
    listener = () => before.abort(timeout);
    await expect(get(url(), before.signal)).rejects.toBe(timeout);
    await expect(get(url(), before.signal)).rejects.toBe(timeout);
    const amid = new AbortController();
    listener = (_, response) => response.writeHead(200).write('half');
    const reading = readText(await get(url(), amid.signal), 100);
    amid.abort(timeout);
    const cut = await reading.catch((error: unknown) => error);
    expect(describeFailure(cut, 5_000)).toEqual({
      code: 'TIMEOUT',
      reason: 'no response within 5 s',
    });
  });
});

describe('a failure', () => {
  test.each(['http://127.0.0.1:10080', 'http://127.0.0.1:1', 'http://[::1]:6000'])(
    'to connect to %s is that, and not the port',
    async (address) => {
      const failed = await get(address).catch((error: unknown) => error);
      expect(describeFailure(failed, 1).code).toMatch(/^E(CONNREFUSED|ADDRNOTAVAIL)$/);
    },
  );

  test('to speak TLS with a server without it says so', async () => {
    listener = (_, response) => response.end();
    const failed = await get(url().replace('http:', 'https:')).catch((error: unknown) => error);
    expect(describeFailure(failed, 1).reason).toBe(
      'the server does not use TLS; should the URL begin with http://?',
    );
  });
});
