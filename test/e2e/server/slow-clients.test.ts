import { IncomingMessage, ServerResponse } from 'node:http';
import { connect, Socket } from 'node:net';

import { expect, it, onTestFinished, vi } from 'vitest';

import { seededRandom } from '../../../infra/local/seeded-random.ts';
import { silentObserver, type AnsweredRequest } from '../../../src/http/server/observer.ts';
import { UnreadAnswers } from '../../../src/http/server/unread-answers.ts';
import { SlowClients, type Slowness } from '../../fuzz/slow.ts';
import { sendSteadily, type Manner } from '../../fuzz/steady-client.ts';
import { countersOf } from '../../support/counters.ts';
import { exchange, startServer, waitUntilCounted, type TestServer } from '../../support/server.ts';

/** Slow clients get their 408 after at most 1.5 s. */
const timeouts = {
  headersMs: 700,
  requestMs: 1_200,
  keepAliveMs: 5_000,
  checkMs: 100,
  lingerMs: 300,
  readMs: 600_000,
};
/** Time limits so long that no test ends because of one. */
const longTimeouts = {
  headersMs: 600_000,
  requestMs: 600_000,
  keepAliveMs: 600_000,
  checkMs: 50,
  lingerMs: 100,
  readMs: 600_000,
};

const waitOptions = { timeout: 500_000, interval: 100 };

const manners: readonly Manner[] = ['plain', 'node:http', 'chunked'];

/**
 * Sends and queries on three connections until `over` resolves; then everything must be counted.
 */
async function serveOtherClients({ port, url, pipeline }: TestServer, isOver: () => boolean) {
  const sent = await Promise.all([
    ...manners.map((manner, index) =>
      sendSteadily(port, manner, manner, seededRandom(index), isOver),
    ),
    ask(url, isOver),
  ]);
  await waitUntilCounted(url);
  const counted = await countersOf(pipeline);
  const items = manners.map((manner) => counted.find(({ state }) => state === manner)?.count ?? 0);
  expect(items).toEqual(sent.slice(0, -1));
  expect(counted).toHaveLength(manners.length);
  expect(Math.min(...sent)).toBeGreaterThan(0);
}

/** A new connection for each request. */
async function ask(url: string, isOver: () => boolean): Promise<number> {
  let times = 0;
  for (; !isOver(); times++) {
    expect((await exchange(url, { path: '/stats?date=2026-03-01' })).status).toBe(200);
  }
  return times;
}

async function openSlow({ port }: TestServer, count: number, kinds: readonly Slowness[]) {
  const slow = new SlowClients();
  onTestFinished(() => slow.end());
  for (const kind of kinds) await slow.open(port, count / kinds.length, kind, 50);
  return slow;
}

it('other clients are served while hundreds are slow, and the slow ones get 408 and are disconnected', async () => {
  const server = await startServer({ http: { timeouts } });
  onTestFinished(() => server.stop());
  let isOver = false;
  const others = serveOtherClients(server, () => isOver);
  const slow = await openSlow(server, 600, ['headers', 'body', 'chunks']);
  await vi.waitFor(() => expect(slow.closed).toBe(600), { timeout: 500_000, interval: 20 });
  isOver = true;
  await others;
  expect(slow.toldLate).toBe(600);
});

it('idle connections do not lock out other clients', async () => {
  const server = await startServer({ http: { timeouts: longTimeouts, connectionsMax: 200 } });
  onTestFinished(() => server.stop());
  const slow = await openSlow(server, 200, ['nothing', 'headers', 'body']);
  expect((await exchange(server.url, { path: '/healthz' })).status).toBe(200);
  const again = await openSlow(server, 200, ['nothing', 'headers']);
  let isOver = false;
  const others = serveOtherClients(server, () => isOver);
  // Three times 64 are closed to make space, some of which may be later ones.
  const closed = () => slow.closed + again.closed;
  await vi.waitFor(() => expect(closed()).toBeGreaterThan(180), { timeout: 500_000 });
  isOver = true;
  await others;
  expect(again.closed).toBeLessThan(400);
});

it('the memory of unread large answers is limited, and they are cut off after their time limit', async () => {
  const timeouts = { ...longTimeouts, readMs: 1_500 };
  const cuts: unknown[] = [];
  const observer = {
    ...silentObserver,
    answered: ({ cut }: AnsweredRequest) => void cuts.push(cut),
  };
  const http = { timeouts, answersBytesMax: 1024 * 1024, observer };
  const server = await startServer({ http });
  onTestFinished(() => server.stop());
  const { port, url } = server;
  // More than the kernel buffers of a response for a client that does not read it.
  const long = 'x'.repeat(120);
  for (let batch = 0; batch < 8; batch++) {
    const items = Array.from({ length: 8_000 }, (_, at) => ({
      ...{ type: `${long}${batch}`, state: `${long}${at}`, timestamp: '2026-03-01T12:00:00Z' },
    }));
    const body = JSON.stringify({ processed_devices: items });
    const headers = { 'content-type': 'application/json' };
    expect((await fetch(`${url}/ingest`, { method: 'POST', headers, body })).status).toBe(200);
  }
  await waitUntilCounted(url);
  const ask = () => fetch(`${url}/stats?date=2026-03-01`);
  const silent = connect(port, '127.0.0.1').pause();
  onTestFinished(() => void silent.destroy());
  silent.write('GET /stats?date=2026-03-01 HTTP/1.1\r\nhost: localhost\r\n\r\n');
  await vi.waitFor(
    () => expect(server.http.memoryUsage().unreadBytes).toBeGreaterThan(0),
    waitOptions,
  );
  await vi.waitFor(async () => {
    const refused = await ask();
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({ code: 'overloaded' });
    expect(refused.headers.get('retry-after')).toBe('5');
  }, waitOptions);
  expect((await fetch(`${url}/stats?date=2026-03-02`)).status).toBe(200);
  // It was cut off, and another response has its memory.
  await vi.waitFor(async () => expect((await ask()).status).toBe(200), waitOptions);
  expect(cuts.filter((cut) => cut !== undefined)).toEqual(['too_slow']);
});

it('answers that need no token do not use the memory of the others', () => {
  const responses: ServerResponse[] = [];
  const admit = (unread: UnreadAnswers, bytes: number, isPublic: boolean) => {
    const response = new ServerResponse(new IncomingMessage(new Socket()));
    responses.push(response);
    return unread.admit({ response, size: bytes, cutOff: () => undefined }, isPublic);
  };
  const unread = new UnreadAnswers(800_000, 600_000);
  expect(admit(unread, 90_000, true)).toBe(true);
  expect(admit(unread, 90_000, true)).toBe(false);
  expect(admit(unread, 690_000, false)).toBe(true);
  expect(admit(unread, 90_000, false)).toBe(false);
  expect(unread.bytes).toBe(780_000);
  for (const response of responses) response.emit('close');
  expect(unread.bytes).toBe(0);
});
