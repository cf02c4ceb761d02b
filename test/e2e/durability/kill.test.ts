import { describe, expect, it } from 'vitest';

import {
  killServer,
  killsOfFirstStart,
  smallServer,
} from '../../support/processes/killed-server.ts';
import { rounds } from '../../support/run/tier.ts';
// Ends after each test what is still running.
import '../../support/processes/server-process.ts';

/** Another seed gives other batches and other moments. */
const seed = Number(process.env['KILL_SEED'] ?? 1);

const kills = rounds({ what: 'kills of a server', quick: 4, nightly: 200 });
const killsWithSmallSegments = rounds({
  what: 'kills of a server with small segments',
  ...{ quick: 2, nightly: 100 },
});
const stops = rounds({ what: 'stops of a server', quick: 4, nightly: 70 });
const stopsWithSmallSegments = rounds({
  what: 'stops of a server with small segments',
  ...{ quick: 2, nightly: 50 },
});

describe('a server that is killed repeatedly', () => {
  it.each([
    { what: 'counts', kills, program: undefined },
    {
      what: 'with small segments, of which it removes the old, counts',
      kills: killsWithSmallSegments,
      program: smallServer,
    },
  ])(
    `$what what it acknowledged once, the rest whole or not at all (seed ${seed})`,
    async ({ kills, program }) => {
      const summary = await killServer({ kills, seed, program });
      expect(summary.violations).toEqual([]);
      // Otherwise nothing was tested.
      const killsUnderLoad = kills - killsOfFirstStart(kills, 'SIGKILL');
      expect(summary.acknowledged).toBeGreaterThan(killsUnderLoad);
      expect(summary.unanswered).toBeGreaterThan(killsUnderLoad / 4);
    },
    3_600_000,
  );
});

describe('a server that is stopped repeatedly', () => {
  it.each([
    {
      what: 'at every stage, a rebuild beside it and a second signal among them',
      stops,
      program: undefined,
    },
    {
      what: 'with small segments, of which it removes the old',
      stops: stopsWithSmallSegments,
      program: smallServer,
    },
  ])(
    `$what, ends as it should and counts what it acknowledged once (seed ${seed})`,
    async ({ stops, program }) => {
      const summary = await killServer({ kills: stops, seed, program, signal: 'SIGTERM' });
      expect(summary.violations).toEqual([]);
      const stopsUnderLoad = stops - killsOfFirstStart(stops, 'SIGTERM');
      expect(summary.acknowledged).toBeGreaterThan(stopsUnderLoad);
    },
    3_600_000,
  );
});
