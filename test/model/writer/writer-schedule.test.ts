import { describe, expect, it } from 'vitest';

import { plantedBugs } from './writer-planted-bugs.ts';
import { runSchedule } from './writer-schedule.ts';
import { rounds } from '../../support/run/tier.ts';

const schedules = rounds({ what: 'schedules of a store', quick: 8, nightly: 1_000 });
/** So many schedules show any of the bugs, with some to spare. First those that show the rarest. */
const seeds = [22, 30, 19, 10, 5, ...Array(60).keys()];

describe('a store through power cuts, kills, a failing disk and a clock that jumps', () => {
  it('counts what it acknowledged once, the rest whole or not at all', async () => {
    for (let seed = 0; seed < schedules; seed++) await runSchedule(seed);
  }, 3_600_000);

  it('goes the same way again with the same seed', async () => {
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

describe('a writer that', () => {
  it.each(Object.entries(plantedBugs))('%s is caught', async (_, variant) => {
    for (const seed of seeds) {
      try {
        await runSchedule(seed, { variant });
      } catch {
        // A broken promise, or a store that will not start again. The same writer without the bug passes the same schedule.
        await expect(runSchedule(seed)).resolves.toBeDefined();
        return;
      }
    }
    expect.fail(`none of ${seeds.length} schedules shows it`);
  });
});
