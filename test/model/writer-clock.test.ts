import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { dayMs } from '../../src/engines/embedded/engine-options.ts';
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

describe('an idempotency key', () => {
  it('is in force for as long as it is kept, and no longer', () =>
    live(async ({ life, machine, keyed }) => {
      const batch = keyed();
      await life.turn([batch]);
      life.setClock(machine.wallMs + 29 * dayMs, false);
      await life.pass(minuteOfMaintenanceMs);
      await life.turn([batch]);
      expect(batch.acknowledged.size).toBe(1);
      life.setClock(machine.wallMs + dayMs, false);
      await life.pass(minuteOfMaintenanceMs);
      await life.turn([batch]);
      expect(batch.acknowledged.size).toBe(2);
    }));

  it('is in force while the clock stands still or has gone back', () =>
    live(async ({ life, machine, keyed }) => {
      const batch = keyed();
      await life.turn([batch]);
      for (const jumpMs of [0, -400 * dayMs]) {
        life.setClock(machine.wallMs + jumpMs, true);
        await life.pass(minuteOfMaintenanceMs);
        await life.turn([batch]);
      }
      expect(batch.acknowledged.size).toBe(1);
    }));

  it.each([false, true])(
    'is in force that came after a clock had jumped ahead and back (rebuild: %s)',
    (isRebuilt) =>
      live(async ({ life, machine, keyed }) => {
        const { wallMs } = machine;
        await life.turn([keyed()]);
        life.setClock(wallMs + 400 * dayMs, false);
        // What came before has expired, and it is noted that all before that time has.
        await life.pass(minuteOfMaintenanceMs);
        life.setClock(wallMs + dayMs, false);
        const batch = keyed();
        await life.turn([batch]);
        await life.judge();
        if (isRebuilt) await life.rebuild(false);
        await life.turn([batch]);
        expect(batch.acknowledged.size).toBe(1);
      }),
  );
});

describe('a clock that jumps by months within a life', () => {
  it('keeps counting and retention going', () =>
    live(async ({ life, machine, plain }) => {
      for (const jump of [400, -800, 40, -0.1, 0, 2]) {
        life.setClock(machine.wallMs + jump * dayMs, jump === 0);
        await life.turn([plain(1500), plain(1500)]);
        await life.pass(minuteOfMaintenanceMs);
      }
    }));
});
