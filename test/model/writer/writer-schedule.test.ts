import { describe, expect, it } from 'vitest';

import { plantedBugs } from './writer-planted-bugs.ts';
import { runSchedule } from './writer-schedule.ts';
import { rounds } from '../../support/run/tier.ts';

const schedules = rounds({ what: 'schedules of a store', quick: 5, nightly: 1_000 });
/** Seeds that showed a bug when this was written. They are tried first. */
const seedsThatShow: Readonly<Record<string, number>> = {
  'does not sync': 22,
  'does not sync in the background': 19,
  'acknowledges and counts before the sync, which it does next': 22,
  'repeats a sync that failed': 4,
  'does not sync directories': 30,
  'counts, then moves its position in another transaction': 22,
  'moves its position, then counts in another transaction': 22,
  'moves its position and forgets some counters': 5,
  'keeps no keys': 22,
  'removes segments that the database may still need': 10,
};
/** Enough schedules to show any of the bugs. */
const allSeeds = [...Array(60).keys()];

describe('a store through power cuts, kills, a failing disk and a clock that jumps', () => {
  it('counts acknowledged batches once, and the others whole or not at all', async () => {
    for (let seed = 0; seed < schedules; seed++) await runSchedule(seed);
  }, 3_600_000);

  it('behaves the same with the same seed', async () => {
    const [first, second] = [await traceOf(7), await traceOf(7)];
    expect(first.length).toBeGreaterThan(10);
    expect(second).toEqual(first);
  });
});

async function traceOf(seed: number): Promise<string[]> {
  const lines: string[] = [];
  await runSchedule(seed, { trace: (line) => lines.push(line) });
  return lines.map((line) => line.replaceAll(/schedule-\w+/g, ''));
}

describe('the simulation', () => {
  it.each(Object.entries(plantedBugs))('catches a writer that %s', async (name, variant) => {
    for (const seed of [seedsThatShow[name] ?? 0, ...allSeeds]) {
      try {
        await runSchedule(seed, { variant });
      } catch {
        // A violation, or a store that no longer starts. The same writer without the bug passes the
        // same schedule.
        await expect(runSchedule(seed)).resolves.toBeDefined();
        return;
      }
    }
    expect.fail(`none of ${allSeeds.length} schedules shows it`);
  });
});
