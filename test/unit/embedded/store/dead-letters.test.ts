import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { beforeEach, expect, it } from 'vitest';

import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import {
  dropDeadLetters,
  listDeadLetters,
  redriveDeadLetters,
} from '../../../../src/engines/embedded/store/dead-letters.ts';
import { dropReplacedTables } from '../../../../src/engines/embedded/verify/rebuild.ts';
import { openStatsReader } from '../../../../src/engines/embedded/reader/stats-reader.ts';
import {
  auditOf,
  change,
  codesOf,
  newDataDirectory,
  numberedBatches,
  rebuild,
  store,
} from '../../../support/embedded-store.ts';

const batches = 9;
let dataDir: string;

/** As if the rules had once refused a whole batch, which is taken out of the counters again. */
function makeDeadLetter(n: number): void {
  change(
    dataDir,
    `INSERT INTO dead_letters
       SELECT ${n === 0 ? 64 : positionOf(n)}, batch_id, 'recount_differs: once', 1000, 2000, NULL, NULL
       FROM idempotency_keys WHERE key = 'key-${n}';
     DELETE FROM counters WHERE state = 'own ${n}';
     UPDATE counters SET count = count - 1 WHERE state = 'shared'`,
  );
}

function positionOf(n: number): number {
  const place = rawKeys[n]?.slice(-41, -28).replace('-', '') ?? '';
  return Number.parseInt(place, 16);
}

let rawKeys: string[];

beforeEach(async () => {
  dataDir = newDataDirectory();
  rawKeys = await store(dataDir, numberedBatches(batches));
  makeDeadLetter(0);
  makeDeadLetter(3);
  expect(await auditOf(dataDir)).toEqual([]);
});

function total(): number {
  const reader = openStatsReader(dataDir);
  const rows = [...reader.query({ from: '2026-01-01', to: '2026-12-31', types: [], states: [] })];
  reader.close();
  return rows.flat().reduce((sum, { count }) => sum + count, 0);
}

const everything = () => true;

it('lists them with why, since when, and the batch', () => {
  const letters = listDeadLetters(dataDir);
  expect(letters).toMatchObject([
    {
      rawKey: rawKeys[0],
      reason: 'recount_differs: once',
      firstFailedAt: 1000,
      lastFailedAt: 2000,
    },
    { rawKey: rawKeys[3], droppedAt: undefined },
  ]);
  expect(Buffer.from(letters[1]?.body ?? []).toString()).toContain('own 3');
});

it('counts what can be counted now, once', async () => {
  expect(total()).toBe(2 * batches - 4);
  const [first] = listDeadLetters(dataDir);
  const isFirst = ({ batchId }: { batchId: string }) => batchId === first?.batchId;
  expect(redriveDeadLetters(dataDir, isFirst, 5000)).toEqual({ counted: 1, failed: [] });
  expect(total()).toBe(2 * batches - 2);
  expect(redriveDeadLetters(dataDir, everything, 5000).counted).toBe(1);
  expect(redriveDeadLetters(dataDir, everything, 5000).counted).toBe(0);
  expect(total()).toBe(2 * batches);
  expect(listDeadLetters(dataDir)).toEqual([]);
  expect(await auditOf(dataDir)).toEqual([]);
});

it('counts what was noted as removed there too', async () => {
  change(
    dataDir,
    `UPDATE progress SET removed_through = position;
     INSERT INTO removed_counters SELECT * FROM counters`,
  );
  expect(await auditOf(dataDir)).toEqual([]);
  redriveDeadLetters(dataDir, everything, 5000);
  expect(await auditOf(dataDir)).toEqual([]);
});

it('counts it in what an unfinished rebuild has copied too', async () => {
  change(
    dataDir,
    `UPDATE progress SET removed_through = position;
     INSERT INTO removed_counters SELECT * FROM counters`,
  );
  rebuild(dataDir, { dryRun: true });
  const [first] = listDeadLetters(dataDir);
  const isFirst = ({ batchId }: { batchId: string }) => batchId === first?.batchId;
  expect(redriveDeadLetters(dataDir, isFirst, 5000).counted).toBe(1);
  expect(rebuild(dataDir)).toMatchObject({ differences: [], isSwitched: true });
  expect(total()).toBe(2 * batches - 2);
  expect(redriveDeadLetters(dataDir, everything, 5000).counted).toBe(1);
  dropReplacedTables(dataDir);
  expect(rebuild(dataDir).differences).toEqual([]);
  expect(total()).toBe(2 * batches);
  expect(await auditOf(dataDir)).toEqual([]);
});

it('leaves there what cannot be counted still', () => {
  change(dataDir, 'UPDATE dead_letters SET damaged_through = position + 10 WHERE position = 64');
  const result = redriveDeadLetters(dataDir, everything, 5000);
  expect(result).toMatchObject({ counted: 1, failed: [{ reason: 'recount_differs: once' }] });
  expect(listDeadLetters(dataDir)).toMatchObject([
    { position: 64, rawKey: undefined, firstFailedAt: 1000, lastFailedAt: 5000 },
  ]);
});

it('reports for restored damage that a rebuild counts it', async () => {
  const { log } = dataPaths(dataDir);
  const path = join(log, readdirSync(log).sort()[0] ?? '');
  const sound = readFileSync(path);
  const at = sound.indexOf('own 1"');
  writeFileSync(
    path,
    Buffer.concat([sound.subarray(0, at), Buffer.from('x'), sound.subarray(at + 1)]),
  );
  rebuild(dataDir, { withoutDamaged: true });
  const [failed] = redriveDeadLetters(dataDir, everything, 5000).failed;
  expect(failed?.isRestored).toBe(false);
  expect(failed?.reason).toMatch(/^damaged: /);
  writeFileSync(path, sound);
  expect(redriveDeadLetters(dataDir, everything, 6000)).toEqual({
    counted: 0,
    failed: [
      {
        batchId: rawKeys[1]?.slice(-41, -5),
        reason: 'its raw body can be read again: run rebuild, which counts it',
        isRestored: true,
      },
    ],
  });
  dropReplacedTables(dataDir);
  rebuild(dataDir);
  expect(listDeadLetters(dataDir)).toEqual([]);
  expect(total()).toBe(2 * batches);
  expect(await auditOf(dataDir)).toEqual([]);
});

it('never counts what was dropped, and does not forget it', async () => {
  expect(dropDeadLetters(dataDir, everything, 5000)).toBe(2);
  expect(dropDeadLetters(dataDir, everything, 6000)).toBe(0);
  expect(redriveDeadLetters(dataDir, everything, 7000)).toEqual({ counted: 0, failed: [] });
  expect(listDeadLetters(dataDir)).toMatchObject([{ droppedAt: 5000 }, { droppedAt: 5000 }]);
  expect(await auditOf(dataDir)).toEqual([]);
  rebuild(dataDir);
  expect(listDeadLetters(dataDir)).toMatchObject([
    { firstFailedAt: 1000, droppedAt: 5000 },
    { reason: 'recount_differs: once', droppedAt: 5000 },
  ]);
  expect(total()).toBe(2 * batches - 4);
  expect(await auditOf(dataDir)).toEqual([]);
});

it('are counted by a rebuild, where they can be', async () => {
  rebuild(dataDir);
  expect(listDeadLetters(dataDir)).toEqual([]);
  expect(total()).toBe(2 * batches);
  expect(codesOf(await auditOf(dataDir))).toEqual([]);
});
