import { setTimeout as delay } from 'node:timers/promises';

import type { LoadFigures } from './wrk.ts';

/** The time from a response until `/stats` shows the acknowledged item, in milliseconds. */
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
 * During a load, sends an item of another day from time to time, and polls until it is counted. Polling
 * takes time, more on a busy server, so the figures are never too low.
 */
export async function measureDelay(url: string, load: Promise<LoadFigures>): Promise<DelayFigures> {
  const over = new AbortController();
  const ended = load.finally(() => over.abort());
  const delays: number[] = [];
  // Wait until the load is steady.
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
