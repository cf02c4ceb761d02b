import { describe, expect, test } from 'vitest';

import { dateOfTimestamp } from '../../../src/domain/timestamp.ts';
import { randomBatch, randomBody, randomSource } from '../../../src/entry/feed/random-events.ts';

const feed = { seed: 'demo', itemsPerBatch: 200, days: 7, untilMs: Date.UTC(2026, 5, 17, 12) };
const dayMs = 86_400_000;

/** Enough events that a share of one in a hundred is near its due. */
const many = Array.from({ length: 100 }, (_, index) => randomBatch(feed, index)).flat();

function shareOf(test: (event: (typeof many)[number]) => boolean): number {
  return many.filter(test).length / many.length;
}

describe('random events', () => {
  test('are a function of the seed, the batch number and the end of time', () => {
    expect(randomBody(feed, 3)).toBe(randomBody({ ...feed }, 3));
    expect(randomBody(feed, 3)).not.toBe(randomBody(feed, 4));
    expect(randomBody(feed, 3)).not.toBe(randomBody({ ...feed, seed: 'other' }, 3));
    expect(randomBody(feed, 3)).not.toBe(randomBody({ ...feed, untilMs: feed.untilMs + 1 }, 3));
  });

  test('stay what they are from release to release', () => {
    const [first] = randomBatch(feed, 0);
    expect(first).toMatchInlineSnapshot(`
      {
        "state": "graded",
        "timestamp": "2026-06-10T16:37:56-05:00",
        "type": "laptop",
      }
    `);
  });

  test('batches 1 and 11 of seeds x and x1 are unrelated', () => {
    const one = randomBody({ ...feed, seed: 'x' }, 11);
    expect(one).not.toBe(randomBody({ ...feed, seed: 'x1' }, 1));
  });

  test('have valid timestamps within the days before the end', () => {
    for (const { timestamp } of many) {
      expect(dateOfTimestamp(timestamp)).toBeDefined();
      const at = Date.parse(timestamp);
      expect(at).toBeLessThanOrEqual(feed.untilMs);
      // They are written to the second, which may take away almost one.
      expect(at).toBeGreaterThan(feed.untilMs - feed.days * dayMs - 1000);
    }
  });

  test('cover every day of the span, and working hours most', () => {
    const days = new Set(many.map(({ timestamp }) => dateOfTimestamp(timestamp)));
    expect(days.size).toBeGreaterThanOrEqual(feed.days);
    expect(shareOf(({ timestamp }) => /T(0[89]|1[0-7])/.test(timestamp))).toBeGreaterThan(0.7);
  });

  test('are mostly written in UTC, and some with an offset', () => {
    const inUtc = shareOf(({ timestamp }) => timestamp.endsWith('Z'));
    expect(inUtc).toBeGreaterThan(0.75);
    expect(inUtc).toBeLessThan(0.95);
  });

  test('are erasures most of the time, of laptops and phones above all', () => {
    expect(shareOf(({ state }) => state === 'erased')).toBeGreaterThan(0.4);
    expect(shareOf(({ state }) => state === 'erasure failed')).toBeGreaterThan(0.01);
    expect(shareOf(({ type }) => type === 'laptop' || type === 'phone')).toBeGreaterThan(0.4);
    expect(new Set(many.map(({ type }) => type)).size).toBe(10);
  });

  test('know that a monitor has nothing to erase', () => {
    expect(many.some(({ type }) => type === 'monitor')).toBe(true);
    expect(many.some((event) => event.type === 'monitor' && /eras/.test(event.state))).toBe(false);
  });
});

describe('the random numbers', () => {
  test('are spread evenly over [0, 1)', () => {
    const random = randomSource('spread');
    const tenths = Array.from({ length: 10 }, () => 0);
    for (let draws = 0; draws < 100_000; draws += 1) {
      const tenth = Math.floor(random() * 10);
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    for (const count of tenths) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  });
});
