import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';

import { expect, it, onTestFinished, vi } from 'vitest';

import { silentObserver, type AnsweredRequest } from '../../../src/http/server/observer.ts';
import { createHttpServer } from '../../../src/http/server/server.ts';
import { Unavailable, type Queries } from '../../../src/pipeline/ports.ts';
import { startServer } from '../../support/server.ts';

type Stats = Queries['stats'];

/**
 * A server whose `/stats` takes as long as the test wants, and the observations of its observer.
 */
async function serve(stats: (real: Stats) => Stats) {
  const real = await startServer();
  onTestFinished(() => real.stop());
  const { pipeline } = real;
  const exchanges: AnsweredRequest[] = [];
  const http = createHttpServer({
    pipeline: {
      ingest: (submission) => pipeline.ingest(submission),
      receipt: (batchId) => pipeline.receipt(batchId),
      status: () => pipeline.status(),
      stats: stats((...args) => pipeline.stats(...args)),
    },
    ...{ bodyBytesMax: 4096, bodiesBytesMax: 65_536 },
    onUnexpectedError: (error) => expect.fail(String(error)),
    observer: { ...silentObserver, answered: (exchange) => void exchanges.push(exchange) },
  });
  http.server.listen(0, '127.0.0.1');
  await once(http.server, 'listening');
  onTestFinished(() => http.stop(0));
  const address = http.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const open = (text: string): Socket => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => undefined);
    socket.write(text, 'latin1');
    return socket;
  };
  return { open, exchanges, stop: (graceMs: number) => http.stop(graceMs) };
}

const question = 'GET /stats?date=2023-06-16 HTTP/1.1\r\nHost: x\r\n\r\n';

async function everythingOf(socket: Socket): Promise<string> {
  let received = '';
  for await (const piece of socket) received += String(piece);
  return received;
}

it('a read for a client that disconnects is cancelled, and a stop does not wait for it', async () => {
  let asked = 0;
  let left = 0;
  const { open, stop } = await serve(() => async (_request, _known, signal) => {
    asked++;
    await new Promise((resolve) => signal?.addEventListener('abort', resolve));
    left++;
    throw new Unavailable('stopping', 'the request was cancelled');
  });
  const clients = [1, 2, 3].map(() => open(question));
  await vi.waitFor(() => expect(asked).toBe(3), { timeout: 500_000 });
  for (const client of clients) client.destroy();
  const stopped = stop(600_000);
  await vi.waitFor(() => expect(left).toBe(3), { timeout: 500_000 });
  await stopped;
});

it('a client that has ended only its side gets its answer', async () => {
  const { open } = await serve((real) => async (...args) => {
    await setTimeout(1_500);
    return await real(...args);
  });
  const client = open(question);
  client.end();
  const received = await everythingOf(client);
  expect(received).toMatch(/^(HTTP\/1\.1 102 Processing\r\n\r\n)+HTTP\/1\.1 200 OK\r\n/);
  expect(received).toMatch(/\r\n\r\n\[\]$/);
});

it('the time that a client takes to send is not part of the response time', async () => {
  const { open, exchanges } = await serve((real) => real);
  const head = 'POST /ingest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';
  const client = open(`${head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\n{\r\n`);
  await setTimeout(1_500);
  client.write('1\r\n}\r\n0\r\n\r\n');
  expect(await everythingOf(client)).toMatch(/^HTTP\/1\.1 400 /);
  await expect.poll(() => exchanges.length).toBe(1);
  expect(exchanges[0]?.seconds).toBeLessThan(1.5);
});

it.each(['GET /\\..\\stats', 'GET http://[x/stats', 'GET /stats HTTP/1.1\r\nHost: x:99999'])(
  'the refusal of an invalid address has an id and is observed: %j',
  async (line) => {
    const { open, exchanges } = await serve((real) => real);
    const start = line.includes('Host') ? line : `${line} HTTP/1.1\r\nHost: x`;
    const client = open(`${start}\r\nX-Request-Id: mine\r\nConnection: close\r\n\r\n`);
    expect(await everythingOf(client)).toMatch(/^HTTP\/1\.1 400 [^]*\r\nx-request-id: mine\r\n/i);
    await expect.poll(() => exchanges.length).toBe(1);
    expect(exchanges[0]).toMatchObject({ requestId: 'mine', problem: 'malformed_request' });
  },
);
