import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { dayMs } from '../../../src/engines/embedded/options.ts';
import { listSegments } from '../../../src/engines/embedded/log/segment.ts';
import type { SimulatedMachine } from './simulated-machine.ts';
import { Lives, type Act } from './writer-stages.ts';

/** One life in an empty directory, of a writer that keeps keys for 30 days. */
async function live(act: Act): Promise<void> {
  const dataDir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'clock-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  const lives = new Lives(dataDir);
  const { end, next } = await lives.live(lives.emptyWorld, async (context) => {
    await act(context);
    await context.life.judge();
    await context.life.close();
  });
  next('crash', 1);
  expect(end).toBeUndefined();
}

const minuteOfMaintenanceMs = 61_000;
/** After this time the age of everything earlier is recorded. */
const untilNotedMs = 3_661_000;

describe('an idempotency key', () => {
  it('is valid exactly as long as it is kept, also over restarts', () =>
    live(async ({ life, keyed }) => {
      const batch = keyed();
      await life.commit([batch]);
      await life.pass(untilNotedMs);
      life.skip(20 * dayMs);
      await life.restart();
      life.skip(9 * dayMs);
      await life.pass(minuteOfMaintenanceMs);
      await life.commit([batch]);
      expect(batch.acknowledged.size).toBe(1);
      life.skip(dayMs);
      await life.pass(minuteOfMaintenanceMs);
      await life.commit([batch]);
      expect(batch.acknowledged.size).toBe(2);
    }));

  it.each([
    ['was behind and is set right', [0, Date.UTC(2026, 10, 28)]],
    ['was ahead and is set right', [Date.UTC(2056, 0), Date.UTC(2026, 10, 28)]],
    ['jumps ahead and back', [Date.UTC(2026, 2), Date.UTC(2027, 4), Date.UTC(2026, 2, 2)]],
    ['stands still', [Date.UTC(2026, 2)]],
  ])('is valid while the clock %s', (_, [first = 0, ...others]) =>
    live(async ({ life, keyed }) => {
      life.setClock(first, others.length === 0);
      const batches = [keyed()];
      await life.commit(batches);
      for (const wallMs of others) {
        await life.pass(3_000);
        life.setClock(wallMs, false);
        await life.pass(minuteOfMaintenanceMs);
        batches.push(keyed());
        await life.commit(batches);
        await life.restart();
        await life.commit(batches);
        await life.judge();
        await life.rebuild(false);
        await life.commit(batches);
      }
      expect(batches.map(({ acknowledged }) => acknowledged.size)).toEqual(batches.map(() => 1));
    }),
  );
});

describe('a raw body', () => {
  /** Where the log begins. */
  const begin = ({ disk, dataDir }: SimulatedMachine) =>
    listSegments(disk, dataPaths(dataDir).log)[0]?.base;

  it.each([
    ['was behind', 0],
    ['was right', Date.UTC(2026, 10, 28)],
    ['was ahead', Date.UTC(2056, 0)],
  ])('is kept exactly as long as configured if the clock %s', (_, wallMs) =>
    live(async ({ life, machine, plain }) => {
      life.setClock(wallMs, false);
      await life.commit([plain(3000), plain(3000), plain(3000)]);
      await life.pass(untilNotedMs);
      life.setClock(Date.UTC(2026, 10, 28), false);
      life.skip(0.9 * dayMs);
      await life.pass(minuteOfMaintenanceMs);
      await life.pass(minuteOfMaintenanceMs);
      expect(begin(machine)).toBe(0);
      life.skip(0.2 * dayMs);
      await life.pass(minuteOfMaintenanceMs);
      await life.pass(minuteOfMaintenanceMs);
      expect(begin(machine)).toBeGreaterThan(0);
    }),
  );
});

describe('a clock that jumps by months within a life', () => {
  it('does not stop counting or retention', () =>
    live(async ({ life, machine, plain }) => {
      for (const jump of [400, -800, 40, -0.1, 0, 2]) {
        life.setClock(machine.wallMs + jump * dayMs, jump === 0);
        await life.commit([plain(1500), plain(1500)]);
        await life.pass(minuteOfMaintenanceMs);
      }
    }));
});
