import { expect, it, onTestFinished, vi } from 'vitest';

import { seededRandom } from '../../infra/local/seeded-random.ts';
import { SlowClients, type Slowness } from '../fuzz/slow.ts';
import { sendSteadily, type Manner } from '../fuzz/steady-client.ts';
import { readCounters } from '../support/counters.ts';
import { exchange, startServer, waitUntilCounted, type TestServer } from '../support/server.ts';

/** Slow clients are told so after a second and a half at the most. */
const timeouts = {
  headersMs: 700,
  requestMs: 1_200,
  keepAliveMs: 5_000,
  checkMs: 100,
  lingerMs: 300,
};
/** Nothing happens because time has passed. */
const patient = {
  headersMs: 600_000,
  requestMs: 600_000,
  keepAliveMs: 600_000,
  checkMs: 50,
  lingerMs: 100,
};

const manners: readonly Manner[] = ['plain', 'node:http', 'chunked'];

/** Sends on three connections, and asks, until it is over; then everything must be counted. */
async function serveOthers({ port, url, pipeline }: TestServer, isOver: () => boolean) {
  const sent = await Promise.all([
    ...manners.map((manner, index) =>
      sendSteadily(port, manner, manner, seededRandom(index), isOver),
    ),
    ask(url, isOver),
  ]);
  await waitUntilCounted(url);
  const counted = await readCounters(pipeline);
  const items = manners.map((manner) => counted.find(({ state }) => state === manner)?.count ?? 0);
  expect(items).toEqual(sent.slice(0, -1));
  expect(counted).toHaveLength(manners.length);
  expect(Math.min(...sent)).toBeGreaterThan(0);
}

/** Each time on a new connection. */
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

it('others are served while hundreds are slow, and these are told so and cut', async () => {
  const server = await startServer({ http: { timeouts } });
  onTestFinished(() => server.stop());
  let isOver = false;
  const others = serveOthers(server, () => isOver);
  const slow = await openSlow(server, 600, ['headers', 'body', 'chunks']);
  await vi.waitFor(() => expect(slow.closed).toBe(600), { timeout: 45_000, interval: 20 });
  isOver = true;
  await others;
  expect(slow.toldLate).toBe(600);
});

it('connections that are held for nothing keep nobody out', async () => {
  const server = await startServer({ http: { timeouts: patient, connectionsMax: 200 } });
  onTestFinished(() => server.stop());
  const slow = await openSlow(server, 200, ['nothing', 'headers', 'body']);
  expect((await exchange(server.url, { path: '/healthz' })).status).toBe(200);
  const again = await openSlow(server, 200, ['nothing', 'headers']);
  let isOver = false;
  const others = serveOthers(server, () => isOver);
  await vi.waitFor(() => expect(slow.closed).toBeGreaterThan(190), { timeout: 45_000 });
  isOver = true;
  await others;
  expect(again.closed).toBeLessThan(400);
});
