import { once } from 'node:events';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';

import { expect, onTestFinished, test } from 'vitest';

import { createClient, type DeviceEvent, type Refusal } from '../../src/client/index.ts';
import {
  newClient,
  readStats,
  startServer,
  temporaryDirectory,
  waitCounted,
} from '../support/processes/server-process.ts';

function event(state: string): DeviceEvent {
  return { type: 'phone', state, timestamp: '2026-03-02T12:00:00Z' };
}

test('a server that is killed and started again loses none and doubles none', async () => {
  const dataDir = temporaryDirectory();
  const first = await startServer(dataDir);
  const { url } = first;
  await using client = createClient({
    url,
    batchItemsMax: 10,
    batchMsMax: 5,
    bufferBytesMax: 8 * 1024,
    retry: { attemptsMax: 10_000, backoffMsMin: 5, backoffMsMax: 50 },
  });
  const events = 2000;
  let next = first.server;
  for (let n = 0; n < events; n += 1) {
    await client.send(event(`s${n}`));
    // The buffer is bounded: batches are under way at each kill.
    if (n !== 500 && n !== 1200) continue;
    next.kill('SIGKILL');
    await next.waitExit();
    next = (await startServer(dataDir, { args: ['--port', new URL(url).port] })).server;
  }
  expect(await client.flush()).toEqual({ accepted: events, refused: 0, givenUp: 0 });
  const reader = newClient(1);
  await waitCounted(reader, url);
  const rows = await readStats(reader, url);
  expect(rows).toHaveLength(events);
  expect(rows.filter(({ count }) => count !== 1)).toEqual([]);
});

test('each rejected event is reported, whatever their number in a batch', async () => {
  const { url } = await startServer(temporaryDirectory());
  const refused: [unknown, Refusal][] = [];
  await using client = createClient({
    url,
    onRefused: (each, refusal) => refused.push([each, refusal]),
  });
  const bad: DeviceEvent[] = [];
  for (let n = 0; n < 100; n += 1) {
    const each = { ...event(n % 2 === 0 ? '' : 'erased'), n };
    if (n % 2 === 0) bad.push(each);
    await client.send(each);
  }
  expect(await client.flush()).toEqual({ accepted: 50, refused: 50, givenUp: 0 });
  expect(refused.map(([each]) => each)).toEqual(bad);
  expect(refused[0]?.[1]).toMatchObject({ field: 'state' });
});

/** The address of a proxy that drops the client's wish to be refused as a whole. */
async function proxyWithoutPrefer(url: string): Promise<string> {
  const proxy = createServer((incoming, outgoing) => {
    const { method, headers } = incoming;
    delete headers['prefer'];
    const passed = request(new URL(incoming.url ?? '', url), { method, headers });
    passed.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    incoming.pipe(passed);
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
}

test('behind a proxy that drops Prefer, what is refused is not said to be accepted', async () => {
  const { url } = await startServer(temporaryDirectory());
  let told = 0;
  const client = createClient({
    url: await proxyWithoutPrefer(url),
    batchMsMax: 1e9,
    onRefused: () => (told += 1),
  });
  for (let n = 0; n < 100; n += 1) await client.send(event(n < 50 ? '' : 'erased'));
  await expect(client.flush()).rejects.toThrow(
    'the server rejected 30 of the 100 events of a batch',
  );
  expect(told).toBe(20);
  expect(await client.close()).toEqual({ accepted: 50, refused: 50, givenUp: 0 });
  const reader = newClient(1);
  await waitCounted(reader, url);
  expect((await readStats(reader, url)).map(({ count }) => count)).toEqual([50]);
});
