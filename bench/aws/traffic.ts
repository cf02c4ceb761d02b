import { randomBatch, randomSource, type RandomEvent } from '../../src/entry/feed/random-events.ts';

/** Events of one day, a Wednesday. */
const endOfDayMs = Date.UTC(2026, 10, 18, 23, 59, 59);
const dayMs = 86_400_000;

const types = ['laptop', 'phone', 'server', 'tablet', 'desktop', 'ssd'];
const states = ['erased', 'erasure failed', 'received', 'graded', 'shipped'];

/**
 * The traffic to send. Names and times are drawn uniformly, which gives the most distinct counters per
 * request: uneven traffic costs the same or less.
 */
export const traffics = {
  /** A typical fleet: one day, 6 types × 5 states, so 30 counters. */
  live: (batch: number, items: number) => evenBatch(batch, items, 1),
  /** Late reports of a month: 30 days × 30 counters. */
  spread: (batch: number, items: number) => evenBatch(batch, items, 30),
  /** The traffic of `feed --days 1`: 88 pairs of type and state, some on the day before and after. */
  feed: (batch: number, itemsPerBatch: number) =>
    randomBatch({ seed: 'cost', itemsPerBatch, days: 1, untilMs: endOfDayMs }, batch),
} as const satisfies Record<string, (batch: number, items: number) => RandomEvent[]>;

export type Traffic = keyof typeof traffics;

function evenBatch(batch: number, items: number, days: number): RandomEvent[] {
  const random = randomSource(`cost\n${batch}`);
  const pick = (values: readonly string[]) => values[Math.floor(random() * values.length)] ?? '';
  return Array.from({ length: items }, () => {
    const at = new Date(endOfDayMs - Math.floor(random() * days * (dayMs - 1000)));
    const timestamp = `${at.toISOString().slice(0, 19)}Z`;
    return { type: pick(types), state: pick(states), timestamp };
  });
}
