import { describe, expect, it } from 'vitest';

import { rounds } from '../../support/run/tier.ts';
import { runArchiveSchedule } from './archive-schedule.ts';

const schedules = rounds({ what: 'schedules of an archive', quick: 15, nightly: 3_000 });

describe('an archive whose store fails, with servers that are killed, lost, and two at a time', () => {
  it('restores what was acknowledged once, and never a log with a hole', async () => {
    for (let seed = 0; seed < schedules; seed++) await runArchiveSchedule(seed);
  }, 3_600_000);

  it('behaves the same with the same seed', async () => {
    const [first, second] = [await traceOf(12), await traceOf(12)];
    expect(first.length).toBeGreaterThan(50);
    expect(second).toEqual(first);
  });
});

async function traceOf(seed: number): Promise<string[]> {
  const lines: string[] = [];
  await runArchiveSchedule(seed, { trace: (line) => lines.push(line) });
  return lines;
}
