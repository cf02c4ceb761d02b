import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { beforeEach, describe, expect, it } from 'vitest';

import type { Difference } from '../../../../src/pipeline/findings.ts';
import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import {
  dropDeadLetters,
  listDeadLetters,
} from '../../../../src/engines/embedded/store/dead-letters.ts';
import { dropReplacedTables } from '../../../../src/engines/embedded/verify/rebuild.ts';
import { openStatsReader } from '../../../../src/engines/embedded/reader/stats-reader.ts';
import {
  auditOf,
  change,
  codesOf,
  newDataDirectory,
  numberedBatches,
  openWriter,
  rebuild,
  store,
} from '../../../support/embedded-store.ts';

const batches = 60;
const item = { type: 'a', state: 'b', timestamp: '2026-03-01T12:00:00Z' };
let dataDir: string;
let rawKeys: string[];

beforeEach(async () => {
  dataDir = newDataDirectory();
  rawKeys = await store(dataDir, numberedBatches(batches));
  expect(segments().length).toBeGreaterThan(3);
});

function segments(): string[] {
  const directory = dataPaths(dataDir).log;
  return readdirSync(directory)
    .sort()
    .map((name) => join(directory, name));
}

function counts(): Record<string, number> {
  const reader = openStatsReader(dataDir);
  const rows = [...reader.query({ from: '2026-01-01', to: '2026-12-31', types: [], states: [] })];
  reader.close();
  return Object.fromEntries(
    rows.flat().map(({ type, state, count }) => [`${type} ${state}`, count]),
  );
}

/** Changes a byte in the body of the batch that has its own state `own <n>`. */
function damage(n: number): void {
  const path = segments().find((each) => readFileSync(each).includes(`own ${n}"`)) ?? '';
  const bytes = readFileSync(path);
  const at = bytes.indexOf(`own ${n}"`);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}

describe('audit', () => {
  it('finds nothing in an unchanged directory, also by dates and by times', async () => {
    expect(await auditOf(dataDir)).toEqual([]);
    expect(await auditOf(dataDir, { dates: { from: '2026-03-01', to: '2026-03-01' } })).toEqual([]);
    expect(await auditOf(dataDir, { received: { from: 0, to: Date.now() + 1 } })).toEqual([]);
  });

  it('names a counter that was changed, and the batches that it came of', async () => {
    change(dataDir, `UPDATE counters SET count = 7 WHERE state = 'own 5'`);
    expect(await auditOf(dataDir)).toMatchObject([
      {
        code: 'counter_differs',
        counter: { date: '2026-03-01', type: 'laptop', state: 'own 5' },
        counted: 7,
        recounted: 1,
        rawKeys: [rawKeys[5]],
        explainedBy: [],
      },
    ]);
  });

  it('reports a deleted one, and an added one', async () => {
    change(dataDir, `DELETE FROM counters WHERE state = 'own 5'`);
    change(dataDir, `INSERT INTO counters VALUES ('2026-03-02', 'a#b', 'a', 'b', 3)`);
    expect(await auditOf(dataDir)).toMatchObject([
      { code: 'counter_missing', counter: { state: 'own 5' }, counted: 0, recounted: 1 },
      { code: 'counter_unexplained', counter: { date: '2026-03-02' }, counted: 3, recounted: 0 },
    ]);
    const dates = { from: '2026-03-02', to: '2026-03-31' };
    expect(codesOf(await auditOf(dataDir, { dates }))).toEqual(['counter_unexplained']);
  });

  it.each([
    ['not counted', -1],
    ['counted twice', 1],
  ])('names the batch that was %s', async (_, sign) => {
    change(
      dataDir,
      `UPDATE counters SET count = count + ${sign} WHERE state IN ('own 7', 'shared')`,
    );
    const differences = await auditOf(dataDir);
    expect(codesOf(differences)).toEqual(['counter_differs', 'counter_differs']);
    for (const { explainedBy } of differences) expect(explainedBy).toEqual([rawKeys[7]]);
  });

  it('reports that the row of progress is missing', async () => {
    change(dataDir, 'DELETE FROM progress');
    expect(codesOf(await auditOf(dataDir))).toEqual(['ledger_missing']);
  });

  it('reports that the position is wrong', async () => {
    change(dataDir, 'UPDATE progress SET position = position - 10');
    expect(codesOf(await auditOf(dataDir))).toContain('ledger_differs');
    change(dataDir, 'UPDATE progress SET position = position + 10000');
    expect(codesOf(await auditOf(dataDir))).toEqual(['raw_missing']);
    change(dataDir, "UPDATE progress SET position = position - 9990, log_id = x'00'");
    expect(codesOf(await auditOf(dataDir))).toEqual(['ledger_differs']);
  });

  it('names keys that were lost, changed and added', async () => {
    change(dataDir, `DELETE FROM idempotency_keys WHERE key = 'key-3'`);
    change(dataDir, `UPDATE idempotency_keys SET body_sha256 = x'00' WHERE key = 'key-6'`);
    change(
      dataDir,
      `INSERT INTO idempotency_keys SELECT caller, 'other', body_sha256, batch_id, received_at, position
       FROM idempotency_keys WHERE key = 'key-9'`,
    );
    const differences = await auditOf(dataDir);
    expect(codesOf(differences)).toEqual(['key_differs', 'key_missing', 'key_unexplained']);
    const rawKeysOf = (code: string) => differences.find((each) => each.code === code)?.rawKeys;
    expect(rawKeysOf('key_missing')).toEqual([rawKeys[3]]);
    expect(rawKeysOf('key_differs')).toEqual([rawKeys[6]]);
  });

  it.each([0, 30, batches - 1])('names a raw body that is damaged, batch %i', async (n) => {
    damage(n);
    const differences = await auditOf(dataDir);
    expect(codesOf(differences)).toEqual([
      'counter_differs',
      'counter_unexplained',
      ...(n % 3 === 0 ? ['key_unexplained'] : []),
      'raw_damaged',
    ]);
    const named = n % 3 === 0 ? [rawKeys[n]] : [];
    const damaged = differences.find(({ code }) => code === 'raw_damaged');
    expect(damaged?.rawKeys).toEqual(named);
    for (const rawKey of named) expect(damaged?.detail).toContain(rawKey);
    const unexplained = differences.find(({ code }) => code === 'key_unexplained');
    if (named.length > 0) expect(unexplained?.detail).toContain(`"key-${n}" of ${rawKeys[n]}.`);
    expect(unexplained?.rawKeys ?? []).toEqual(named);
  });

  it('names a batch of another installation that is damaged, by its id', async () => {
    change(
      dataDir,
      `INSERT INTO replayed_batches SELECT 'an-id', position FROM idempotency_keys WHERE key = 'key-6';
       DELETE FROM idempotency_keys WHERE key = 'key-6'`,
    );
    damage(6);
    const differences = await auditOf(dataDir);
    const detailOf = (of: string) => differences.find(({ code }) => code === of)?.detail;
    expect(detailOf('raw_damaged')).toContain('batch an-id.');
    expect(detailOf('replayed_unexplained')).toContain('batch an-id.');
  });

  it('names raw bodies that are gone, and the batches as far as they are known', async () => {
    const gone = readFileSync(segments()[2] ?? '').toString('latin1');
    const keyed = rawKeys.filter((_, n) => n % 3 === 0 && gone.includes(`own ${n}"`));
    expect(keyed.length).toBeGreaterThan(2);
    rmSync(segments()[2] ?? '');
    const differences = await auditOf(dataDir);
    const named = keyed.slice(0, 5);
    const more = keyed.length > 5 ? ` and ${keyed.length - 5} more` : '';
    for (const code of ['raw_missing', 'key_unexplained']) {
      expect(differences.find((each) => each.code === code)).toMatchObject({ rawKeys: named });
    }
    const missing = differences.find(({ code }) => code === 'raw_missing');
    expect(missing?.detail).toContain(`${named.join(', ')}${more}.`);
  });

  it('names five of the batches, and says how many more there were', async () => {
    for (const path of segments()) rmSync(path);
    const missing = (await auditOf(dataDir)).find(({ code }) => code === 'raw_missing');
    const keyed = rawKeys.filter((_, n) => n % 3 === 0);
    expect(missing?.rawKeys).toEqual(keyed.slice(0, 5));
    expect(missing?.detail).toContain(`${keyed[4]} and ${keyed.length - 5} more.`);
  });

  it('names a log that was cut short', async () => {
    const last = segments().at(-1) ?? '';
    truncateSync(last, statSync(last).size - 20);
    expect(codesOf(await auditOf(dataDir))).toContain('raw_damaged');
  });

  it('says the same whether one thread reads the log or several do', async () => {
    change(dataDir, `UPDATE counters SET count = count + 1 WHERE state = 'own 7'`);
    change(dataDir, `UPDATE idempotency_keys SET received_at = 1 WHERE key = 'key-9'`);
    change(dataDir, `DELETE FROM idempotency_keys WHERE key = 'key-12'`);
    damage(20);
    damage(45);
    rmSync(segments()[2] ?? '');
    const [alone, together] = [
      await auditOf(dataDir, { threads: 1 }),
      await auditOf(dataDir, { threads: 3 }),
    ];
    expect(codesOf(alone)).toEqual(expect.arrayContaining(['raw_damaged', 'raw_missing']));
    const details = (differences: Difference[]) => differences.map(({ detail }) => detail).sort();
    expect(details(together)).toEqual(details(alone));
  });

  it('has the counts of old segments once they are removed', async () => {
    const writer = openWriter(dataDir, { keepRawMs: 0 });
    const before = segments().length;
    await expect.poll(() => segments().length).toBeLessThan(before);
    await expect.poll(() => segments().length).toBe(1);
    expect(await auditOf(dataDir)).toEqual([]);
    await writer.close();
    expect(await auditOf(dataDir)).toEqual([]);
    change(dataDir, `UPDATE counters SET count = 7 WHERE state = 'own 5'`);
    expect(codesOf(await auditOf(dataDir))).toEqual(['counter_differs']);
    const all = counts();
    rebuild(dataDir);
    expect(counts()).toEqual({ ...all, 'laptop own 5': 1 });
    expect(await auditOf(dataDir)).toEqual([]);
  });
});

describe('rebuild', () => {
  it.each([
    ['counters', `UPDATE counters SET count = count + 2`],
    ['counters that are gone', 'DELETE FROM counters'],
    [
      'a counter that no batch explains',
      `INSERT INTO counters VALUES ('2026-03-02', 'a#b', 'a', 'b', 3)`,
    ],
    [
      'keys',
      `DELETE FROM idempotency_keys; INSERT INTO idempotency_keys VALUES ('', 'x', x'00', 'y', 1, 64)`,
    ],
    ['a missing row of progress', 'DELETE FROM progress'],
    ['a wrong position', 'UPDATE progress SET position = position - 10'],
    ['a row of progress of another log', "UPDATE progress SET log_id = x'00'"],
  ])('repairs %s', async (_, sql) => {
    const before = counts();
    change(dataDir, sql);
    expect(await auditOf(dataDir)).not.toEqual([]);
    expect(rebuild(dataDir).isSwitched).toBe(true);
    expect(await auditOf(dataDir)).toEqual([]);
    expect(counts()).toEqual(before);
    // The server continues from there.
    await store(
      dataDir,
      numberedBatches(1).map(({ items }) => ({ items })),
    );
    expect(counts()).toEqual({ ...before, 'laptop own 0': 2, 'phone shared': batches + 1 });
    expect(await auditOf(dataDir)).toEqual([]);
  });

  it('shows what differs, and with --dry-run changes nothing', () => {
    change(dataDir, `UPDATE counters SET count = 7 WHERE state = 'own 5'`);
    const shown = rebuild(dataDir, { dryRun: true });
    expect(shown).toMatchObject({ isSwitched: false, differences: [{ counted: 7, recounted: 1 }] });
    expect(counts()['laptop own 5']).toBe(7);
    expect(rebuild(dataDir).differences).toEqual(shown.differences);
    expect(counts()['laptop own 5']).toBe(1);
  });

  it('keeps the old counters until they are dropped', () => {
    change(dataDir, `UPDATE counters SET count = 7 WHERE state = 'own 5'`);
    rebuild(dataDir);
    expect(() => rebuild(dataDir)).toThrow(/--drop-old/);
    expect(dropReplacedTables(dataDir)).toBe(true);
    expect(dropReplacedTables(dataDir)).toBe(false);
    expect(rebuild(dataDir).differences).toEqual([]);
  });

  it.each([0, 30, batches - 1])(
    'counts without damaged batch %i only with --without-damaged',
    async (n) => {
      damage(n);
      const before = counts();
      expect(() => rebuild(dataDir)).toThrow(/--without-damaged/);
      expect(counts()).toEqual(before);
      expect(rebuild(dataDir, { withoutDamaged: true }).damagedSpans).toBe(1);
      expect(await auditOf(dataDir)).toEqual([]);
      const { [`laptop own ${n}`]: lost, ...others } = before;
      expect(lost).toBe(1);
      expect(counts()).toEqual({ ...others, 'phone shared': batches - 1 });
      await store(dataDir, [
        { items: [{ type: 'a', state: 'b', timestamp: '2026-03-01T12:00:00Z' }] },
      ]);
      expect(counts()).toEqual({ ...others, 'phone shared': batches - 1, 'a b': 1 });
      expect(await auditOf(dataDir)).toEqual([]);
      dropReplacedTables(dataDir);
      expect(rebuild(dataDir)).toMatchObject({ damagedSpans: 0, differences: [] });
    },
  );

  it('says in the dead letter which batch was damaged, after the keys are gone too', () => {
    damage(30);
    rebuild(dataDir, { withoutDamaged: true, dryRun: true });
    for (let times = 0; times < 2; times++) {
      rebuild(dataDir, { withoutDamaged: true });
      const [letter] = listDeadLetters(dataDir);
      expect(letter?.reason).toMatch(/^damaged: .* is damaged; among it were: raw/);
      expect(letter?.reason.split('among it were: ')).toEqual([expect.anything(), rawKeys[30]]);
      dropReplacedTables(dataDir);
    }
  });

  it('counts without the lost end of a log only with --without-damaged', async () => {
    const last = segments().at(-1) ?? '';
    truncateSync(last, statSync(last).size - 20);
    expect(() => rebuild(dataDir)).toThrow(/--without-damaged/);
    rebuild(dataDir, { withoutDamaged: true });
    expect(await auditOf(dataDir)).toEqual([]);
    await store(dataDir, [
      { items: [{ type: 'a', state: 'b', timestamp: '2026-03-01T12:00:00Z' }] },
    ]);
    expect(await auditOf(dataDir)).toEqual([]);
  });

  /** Puts a batch with a key among the dead letters, as if the rules had once refused it. */
  function makeDeadLetter(n: number): void {
    change(
      dataDir,
      `INSERT INTO dead_letters SELECT position, batch_id, 'a reason', 1, 2, NULL, NULL
       FROM idempotency_keys WHERE key = 'key-${n}'`,
    );
  }

  async function expectDropped(n: number): Promise<void> {
    expect(counts()).toMatchObject({ 'phone shared': batches - 1 });
    expect(counts()).not.toHaveProperty(`laptop own ${n}`);
    expect(listDeadLetters(dataDir)).toMatchObject([
      { rawKey: rawKeys[n], reason: 'a reason', firstFailedAt: 1, lastFailedAt: 2, droppedAt: 5 },
    ]);
    expect(await auditOf(dataDir)).toEqual([]);
  }

  it('does not count what is dropped after a dry run', async () => {
    makeDeadLetter(3);
    rebuild(dataDir, { dryRun: true });
    expect(dropDeadLetters(dataDir, () => true, 5)).toBe(1);
    const { differences } = rebuild(dataDir, { dryRun: true });
    expect(rebuild(dataDir).differences).toEqual(differences);
    await expectDropped(3);
  });

  it('does not count what is dropped between an interrupted rebuild and the next', async () => {
    const large = { items: Array.from({ length: 20_000 }, () => item) };
    await store(dataDir, [large, large, large]);
    makeDeadLetter(3);
    const stop = () => {
      throw new Error('stopped');
    };
    expect(() => rebuild(dataDir, { onProgress: stop })).toThrow('stopped');
    expect(dropDeadLetters(dataDir, () => true, 5)).toBe(1);
    rebuild(dataDir);
    await expectDropped(3);
  });

  it('never counts what was dropped', async () => {
    change(
      dataDir,
      `INSERT INTO dead_letters SELECT 64, batch_id, 'a reason', 1, 2, 3, NULL
       FROM idempotency_keys WHERE key = 'key-0'`,
    );
    rebuild(dataDir);
    expect(counts()).toMatchObject({ 'phone shared': batches - 1 });
    expect(counts()).not.toHaveProperty('laptop own 0');
    expect(await auditOf(dataDir)).toEqual([]);
  });
});
