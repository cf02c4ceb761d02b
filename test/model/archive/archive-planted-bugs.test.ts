import { describe, expect, it } from 'vitest';

import { Violation } from './archive-oracle.ts';
import { plantedBugs } from './archive-planted-bugs.ts';
import { runArchiveSchedule } from './archive-schedule.ts';

/** Short schedules that showed a bug when this was written. They are tried first. */
const seedsThatShow: Readonly<Record<string, number>> = {
  'acknowledges before the upload': 41,
  'removes pieces before the merged object exists': 54,
  'removes pieces before listings show the merged object': 3,
  'uses a number that is already taken': 2,
  'leaves no gap for the uploads of its predecessor': 41,
  'continues without a claim after a restart': 14,
  'does not check whether its claim was written too late': 29,
  'restores a log up to a hole': 34,
};
/** Enough schedules to show any of the bugs. */
const allSeeds = [...Array(400).keys()];

describe('an archive whose server', () => {
  it.each(Object.entries(plantedBugs))(
    '%s is caught',
    async (name, variant) => {
      for (const seed of [seedsThatShow[name] ?? 0, ...allSeeds]) {
        try {
          await runArchiveSchedule(seed, { variant });
        } catch (error) {
          expect(error).toBeInstanceOf(Violation);
          // Without the bug, the same schedule passes.
          await expect(runArchiveSchedule(seed)).resolves.toBeDefined();
          return;
        }
      }
      expect.fail(`none of ${allSeeds.length} schedules shows it`);
    },
    600_000,
  );
});
