import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { moreTroubles, tryEveryCall, troubles } from './writer-every-call.ts';
import { plantedBugs } from './writer-planted-bugs.ts';
import { Lives } from './writer-stages.ts';
import { isNightly } from '../../support/run/tier.ts';

const isEvery = isNightly();
/** Nightly every fault at every call, some 6,000 runs; otherwise each fault at every nth call. */
const stride = isEvery ? 1 : 80;
const tried = isEvery ? [...troubles, ...moreTroubles] : troubles;
const timeoutMs = 1_200_000;

let dataDir: string;
beforeAll(() => {
  dataDir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'every-call-'));
});
afterAll(() => rmSync(dataDir, { recursive: true, force: true }));

describe('a writer whose disk or database fails at a call', () => {
  it(
    'reports why it ends or continues, counts acknowledged batches once, and the others whole or not at all',
    async () => {
      const lives = new Lives(dataDir);
      let runs = 0;
      for (const stage of await lives.stages()) {
        for (const [index, trouble] of tried.entries()) {
          const summary = await tryEveryCall(lives, stage, trouble, { stride, from: index });
          runs += summary.runs;
          const unclear = [...summary.messages].filter((message) => !isClear(message));
          expect(unclear, `${stage.name}, ${trouble.name}`).toEqual([]);
        }
      }
      expect(runs).toBeGreaterThan(isEvery ? 6000 : 30);
    },
    timeoutMs,
  );

  it('is caught if it repeats a sync that failed', async () => {
    const lives = new Lives(dataDir, plantedBugs['repeats a sync that failed']);
    const stage = (await new Lives(dataDir).stages()).find(({ name }) =>
      name.includes('every kind'),
    );
    const [trouble] = troubles;
    if (stage === undefined || trouble === undefined) throw new Error('there is no such stage');
    const syncs = { ...trouble, meets: (call: string) => call === 'sync' };
    await expect(tryEveryCall(lives, stage, syncs)).rejects.toThrow(/EIO at call/);
  });
});

/** One sentence with the failure, and one with the remedy. */
function isClear(message: string): boolean {
  return /^(Error: )?(the power is gone|power cut at|this machine is dead|The disk that holds .* (is full\. Free some space|failed \(.*\)\. Check it))/.test(
    message,
  );
}
