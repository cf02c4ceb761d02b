import { setTimeout as delay } from 'node:timers/promises';

import type { LoadFigures } from './wrk.ts';

/** From an answer until `/stats` shows what it acknowledged, in milliseconds. */
export interface DelayFigures {
  readonly p50: number;
  readonly p99: number;
  readonly probes: number;
}

const day = '2023-07-01';
const probe = {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({
    processed_devices: [{ type: 'probe', state: 'sent', timestamp: `${day}T13:00:00Z` }],
  }),
};

/**
 * While a load runs, sends an item of another day now and then, and asks until it is counted. To
 * ask takes time too, the more the busier the server is: the figures are never too low.
 */
export async function measureDelay(url: string, load: Promise<LoadFigures>): Promise<DelayFigures> {
  const over = new AbortController();
  const ended = load.finally(() => over.abort());
  const delays: number[] = [];
  // The load has to come up first.
  await delay(500);
  while (!over.signal.aborted) {
    await (await fetch(`${url}/ingest`, probe)).arrayBuffer();
    const answeredAt = performance.now();
    while ((await counted(url)) <= delays.length) await delay(1);
    delays.push(performance.now() - answeredAt);
    await delay(5);
  }
  await ended;
  delays.sort((a, b) => a - b);
  const at = (share: number) => delays[Math.floor(delays.length * share)] ?? NaN;
  return { p50: at(0.5), p99: at(0.99), probes: delays.length };
}

async function counted(url: string): Promise<number> {
  const response = await fetch(`${url}/stats?date=${day}`);
  const rows = (await response.json()) as { count: number }[];
  return rows[0]?.count ?? 0;
}
