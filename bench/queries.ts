import { request } from 'node:http';
import { parseArgs } from 'node:util';

import { median } from './growth/figures.ts';
import { fillCounters, withDataDirectory } from './growth/fill.ts';
import { whileServing, type Served } from './growth/serve.ts';
import type { CounterSpace } from './growth/traffic.ts';

/*
 * The time of responses of /stats and /stats-html, one at a time, on a persistent connection; and the
 * cost of a million rows for the process and for clients that send batches meanwhile.
 */
const { values } = parseArgs({ options: { times: { type: 'string', default: '40' } } });
const times = Number(values.times);
const firstDay = '2023-01-01';

interface Asked {
  readonly status: number;
  readonly bytes: number;
  readonly etag: string | undefined;
  readonly ms: number;
}

function ask(served: Served, path: string, headers: Record<string, string> = {}): Promise<Asked> {
  const start = performance.now();
  return new Promise((resolve, reject) => {
    request(`${served.url}${path}`, { headers }, (response) => {
      let bytes = 0;
      response.on('data', (piece: Buffer) => (bytes += piece.length));
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode: status = 0, headers: given } = response;
        resolve({ status, bytes, etag: given.etag, ms: performance.now() - start });
      });
    })
      .on('error', reject)
      .end();
  });
}

const gzip = { 'accept-encoding': 'gzip' };

async function measure(served: Served, name: string, path: string): Promise<void> {
  const whole = await show(served, name, path);
  await show(served, `${name}, gzip`, path, gzip);
  if (whole.etag === undefined) return;
  await show(served, `${name}, 304`, path, { 'if-none-match': whole.etag });
}

async function show(
  served: Served,
  name: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<Asked> {
  const first = await ask(served, path, headers);
  const all = [first.ms];
  for (let index = 0; index < times; index++) all.push((await ask(served, path, headers)).ms);
  const last = Math.max(...all.slice(5));
  line(name, first.status, first.bytes, median(all), last);
  return first;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function line(name: string, status: number, bytes: number, p50: number, max: number): void {
  const cells = [String(status), (bytes / 1024).toFixed(0), p50.toFixed(1), max.toFixed(1)];
  say(`${name.padEnd(44)}${cells.map((cell) => cell.padStart(10)).join('')}`);
}

async function withCounters(
  countersPerDay: number,
  days: number,
  use: (served: Served) => Promise<void>,
) {
  const space: CounterSpace = { firstDay, days, countersPerDay };
  await withDataDirectory(async (dataDir) => {
    fillCounters(dataDir, space);
    await whileServing({ dataDir }, use);
  });
}

/** Posts one item at a time until `isOver`; returns the duration of each. */
async function postUntil(served: Served, isOver: () => boolean): Promise<number[]> {
  const item = { type: 'a', state: 'b', timestamp: '2024-06-16T13:00:00Z' };
  const body = JSON.stringify({ processed_devices: [item] });
  const headers = { 'content-type': 'application/json' };
  const all: number[] = [];
  while (!isOver()) {
    const start = performance.now();
    const response = await fetch(`${served.url}/ingest`, { method: 'POST', headers, body });
    await response.arrayBuffer();
    all.push(performance.now() - start);
  }
  return all;
}

async function meanwhile(served: Served, name: string, act: () => Promise<unknown>): Promise<void> {
  let isOver = false;
  const posts = postUntil(served, () => isOver);
  const start = performance.now();
  await act();
  isOver = true;
  const all = (await posts).sort((a, b) => a - b);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const quantile = (part: number) => (all[Math.floor(part * (all.length - 1))] ?? NaN).toFixed(1);
  say(
    `${name}: ${seconds} s; POSTs meanwhile p50 ${quantile(0.5)}, p99 ${quantile(0.99)}, max ${quantile(1)} ms; ` +
      `resident ${served.residentMiB()}, at most ${served.peakMiB()} MiB`,
  );
}

/** Reads a response at about this many bytes per second. */
function slowly(served: Served, path: string, bytesPerSecond: number): Promise<void> {
  return new Promise((resolve, reject) => {
    request(`${served.url}${path}`, (response) => {
      response.on('data', (piece: Buffer) => {
        response.pause();
        setTimeout(() => response.resume(), (1000 * piece.length) / bytesPerSecond);
      });
      response.on('end', resolve).on('error', reject);
    })
      .on('error', reject)
      .end();
  });
}

say(`${''.padEnd(44)}    status       KiB    p50 ms    max ms`);
await withCounters(10_000, 1, async (served) => {
  const day = `/stats?date=${firstDay}`;
  await measure(served, 'a day of 10,000 rows', day);
  await measure(served, 'the same as CSV', `${day}&format=csv`);
  await measure(served, 'the same, group_by=type', `${day}&group_by=type`);
  await measure(served, 'its page', `/stats-html?date=${firstDay}`);
});
await withCounters(50, 365, async (served) => {
  const year = `/stats?from=${firstDay}&to=2023-12-31`;
  await measure(served, 'a year of 50 rows a day', year);
  await measure(served, 'the same, group_by=date,state', `${year}&group_by=date,state`);
});
await withCounters(1_000_000, 1, async (served) => {
  const day = `/stats?date=${firstDay}`;
  say(`a day of 1,000,000 rows: resident ${served.residentMiB()} MiB before`);
  await meanwhile(served, 'nothing', () => new Promise((resolve) => setTimeout(resolve, 3_000)));
  await meanwhile(served, 'once', () => ask(served, day));
  await meanwhile(served, 'once, gzip', () => ask(served, day, gzip));
  await meanwhile(served, 'once, group_by=type', () => ask(served, `${day}&group_by=type`));
  await meanwhile(served, 'four at once, at 8 MB/s each', async () => {
    await Promise.all([1, 2, 3, 4].map(() => slowly(served, day, 8_000_000)));
  });
});
