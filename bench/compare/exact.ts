import { setTimeout as delay } from 'node:timers/promises';

import type { Contestant } from './contestants.ts';
import { bodyOf } from './traffic.ts';
import type { Load } from './wrk.ts';

const exactRequests = 200;

/**
 * Checks the counters, because figures for wrong counts are meaningless. After a load they must have at
 * least the items of all responses, and at most those of the last requests in addition, whose outcome wrk
 * does not report. Further requests must then be counted exactly.
 */
export async function checkCounts(
  { name, countedItems }: Pick<Contestant, 'name'> & { countedItems: () => Promise<number> },
  url: string,
  { items, connections }: Load,
  answered: number,
): Promise<void> {
  const counted = await settled(countedItems);
  const [least, most] = [answered * items, (answered + connections) * items];
  if (counted < least || counted > most) {
    throw new Error(`${name}: ${counted} counted, though ${least} to ${most} were acknowledged`);
  }
  await Promise.all(Array.from({ length: exactRequests }, () => post(url, bodyOf(items))));
  const expected = counted + exactRequests * items;
  const finally_ = await settled(countedItems);
  if (finally_ !== expected) throw new Error(`${name}: ${finally_} counted, not ${expected}`);
}

/** Requests in flight at the end of the load may still arrive. */
async function settled(countedItems: () => Promise<number>): Promise<number> {
  let before = await countedItems();
  for (;;) {
    await delay(50);
    const now = await countedItems();
    if (now === before) return now;
    before = now;
  }
}

async function post(url: string, body: string): Promise<void> {
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/ingest`, { method: 'POST', headers, body });
  await response.arrayBuffer();
  if (response.status !== 200) throw new Error(`a batch was answered ${response.status}`);
}
