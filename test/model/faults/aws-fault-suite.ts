import { expect, it } from 'vitest';

import { runSchedule, type ScheduleOptions } from './aws-schedule.ts';
import type { World } from './aws-world.ts';

const seedsPerTest = 250;
const linesMax = 120;

export type Schedule = (seed: number, options?: ScheduleOptions) => Promise<void>;

/** Runs a schedule and returns its trace. An error shows the end of the trace. */
export async function runSeed(
  seed: number,
  schedule: Schedule = runSchedule,
  file = 'aws-faults',
): Promise<readonly string[]> {
  const { trace, error } = await traceOf(seed, schedule);
  if (error !== undefined) {
    const replay = `AWS_FAULTS_SEED=${seed} npx vitest run test/model/faults/${file}.test.ts`;
    const shown = trace.filter((line) => !isUneventful(line)).slice(-linesMax);
    const text = `Seed ${seed} (replay: ${replay}): ${(error as Error).message}\n${shown.join('\n')}`;
    throw new Error(text, { cause: error });
  }
  return trace;
}

/** The trace of a schedule, and its violation. */
export async function traceOf(
  seed: number,
  schedule: Schedule = runSchedule,
): Promise<{ trace: readonly string[]; error: unknown }> {
  let trace: readonly string[] = [];
  const onWorld = (world: World) => (trace = world.trace);
  try {
    await schedule(seed, { isTraced: true, onWorld });
    return { trace, error: undefined };
  } catch (error) {
    return { trace, error };
  }
}

/** Reads that were answered change nothing. */
function isUneventful(line: string): boolean {
  return /(?:GetItem|Query|HeadObject|GetObject|ListObjectsV2) none$/.test(line);
}

/** One test for some hundred seeds, so that a failure shows before all have run. */
export function testSeeds(to: number, onTrace: (trace: string) => void): void {
  for (let first = 0; first < to; first += seedsPerTest) {
    const last = Math.min(to, first + seedsPerTest) - 1;
    it(`counts exactly in the schedules of the seeds ${first} to ${last}`, async () => {
      for (let seed = first; seed <= last; seed++) onTrace((await runSeed(seed)).join('\n'));
      expect(last).toBeGreaterThanOrEqual(first);
    });
  }
}
