import { expect, it } from 'vitest';

import { Backlog } from '../../../../src/engines/embedded/writer/backlog.ts';

it('has the size and age of the backlog, as it grows and as it is counted', () => {
  const backlog = new Backlog();
  expect([backlog.items, backlog.since]).toEqual([0, undefined]);
  backlog.add(100, 3, 1_000);
  backlog.add(200, 0, 1_000);
  backlog.add(300, 5, 1_007);
  expect([backlog.items, backlog.since]).toEqual([8, 1_000]);
  // Counted through the middle of what came in one millisecond.
  backlog.removeCounted(100, 3);
  expect([backlog.items, backlog.since]).toEqual([5, 1_000]);
  backlog.removeCounted(200, 0);
  expect([backlog.items, backlog.since]).toEqual([5, 1_007]);
  backlog.removeCounted(300, 5);
  expect([backlog.items, backlog.since]).toEqual([0, undefined]);
});

it('claims nothing too early where the clock was put back', () => {
  const backlog = new Backlog();
  backlog.add(100, 1, 5_000);
  backlog.add(200, 1, 6_000);
  backlog.add(300, 1, 4_000);
  expect(backlog.since).toBe(4_000);
  backlog.removeCounted(200, 2);
  expect(backlog.since).toBe(4_000);
});

it('stores few positions however many wait, and never reports a time too early', () => {
  const backlog = new Backlog();
  for (let at = 1; at <= 100_000; at++) backlog.add(at, 1, at);
  expect([backlog.items, backlog.since]).toEqual([100_000, 1]);
  for (const through of [1, 17, 4_000, 50_000, 99_999]) {
    backlog.removeCounted(through, 0);
    expect(backlog.since).toBeLessThanOrEqual(through + 1);
    // Nor much too late: the places are coarse, not lost.
    expect(backlog.since).toBeGreaterThan(through - 100);
  }
  backlog.removeCounted(100_000, 100_000);
  expect([backlog.items, backlog.since]).toEqual([0, undefined]);
});
