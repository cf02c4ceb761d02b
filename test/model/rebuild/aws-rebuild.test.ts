import { expect, it } from 'vitest';

import { runRebuildSchedule } from './aws-rebuild-schedule.ts';
import type { World } from '../faults/aws-world.ts';
import { rounds } from '../../support/run/tier.ts';

const replayed = process.env['AWS_REBUILD_SEED'];
const schedules = rounds({ what: 'schedules of a rebuild on AWS', quick: 20, nightly: 1_000 });
const seeds = replayed === undefined ? schedules : 1;
const firstSeed = Number(replayed ?? 0);
const linesMax = 150;

async function runSeed(seed: number): Promise<number> {
  try {
    return await runRebuildSchedule(seed);
  } catch (error) {
    let trace: readonly string[] = [];
    const onWorld = (world: World) => (trace = world.trace);
    await runRebuildSchedule(seed, { isTraced: true, onWorld }).catch(() => undefined);
    const shown = trace
      .filter((line) => !/(?:GetItem|Query|Scan|GetObject|GetItems|ListObjectsV2) none$/.test(line))
      .slice(-linesMax);
    const replay = `AWS_REBUILD_SEED=${seed}`;
    throw new Error(`Seed ${seed} (${replay}): ${String(error)}\n${shown.join('\n')}`, {
      cause: error,
    });
  }
}

it('a rebuild repairs damage, despite interruptions and concurrent counting', async () => {
  let corrected = 0;
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) corrected += await runSeed(seed);
  if (seeds > 10) expect(corrected).toBeGreaterThan(seeds / 4);
}, 3_600_000);
