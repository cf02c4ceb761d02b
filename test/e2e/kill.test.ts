import { describe, expect, it } from 'vitest';

import { killServer, smallServer } from '../support/killed-server.ts';
// Ends what is still running after each test.
import '../support/server-process.ts';

/** Another seed gives other batches and other moments; `npm run test:soak` runs many. */
const seed = Number(process.env['KILL_SEED'] ?? 1);

describe('a server that is killed again and again', () => {
  it.each([
    { what: 'counts', kills: 42, program: undefined },
    {
      what: 'with small segments, of which it removes the old, counts',
      kills: 16,
      program: smallServer,
    },
  ])(
    `$what what it acknowledged once, the rest whole or not at all (seed ${seed})`,
    async ({ kills, program }) => {
      const summary = await killServer({ kills, seed, program });
      expect(summary.violations).toEqual([]);
      // Else nothing was put to the test.
      expect(summary.acknowledged).toBeGreaterThan(10 * kills);
      expect(summary.unanswered).toBeGreaterThan(kills / 4);
    },
    300_000,
  );
});

describe('a server that is stopped again and again', () => {
  it.each([
    {
      what: 'at every stage, a rebuild beside it and a second signal among them',
      stops: 7,
      program: undefined,
    },
    { what: 'with small segments, of which it removes the old', stops: 5, program: smallServer },
  ])(
    `$what, ends as it should and counts what it acknowledged once (seed ${seed})`,
    async ({ stops, program }) => {
      const summary = await killServer({ kills: stops, seed, program, signal: 'SIGTERM' });
      expect(summary.violations).toEqual([]);
      expect(summary.acknowledged).toBeGreaterThan(10 * stops);
    },
    300_000,
  );
});
