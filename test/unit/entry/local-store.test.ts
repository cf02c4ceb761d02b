import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { beforeEach, describe, expect, it } from 'vitest';

import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { findStoredBody, logEndOf } from '../../../src/engines/embedded/store/raw-batches.ts';
import { readTokenFile } from '../../../src/engines/embedded/tokens/token-file.ts';
import { openDatabaseReadOnly } from '../../../src/engines/embedded/store/read-only-database.ts';
import { audit } from '../../../src/entry/verify/audit.ts';
import { dlqDrop, dlqList, dlqRedrive } from '../../../src/entry/dlq/dlq.ts';
import { rebuild } from '../../../src/entry/verify/rebuild.ts';
import { stats } from '../../../src/entry/stats/stats.ts';
import { tokenList, tokenRevoke, tokenRotate } from '../../../src/entry/token/token.ts';
import { change, newDataDirectory, numberedBatches, store } from '../../support/embedded-store.ts';

let dataDir: string;

beforeEach(async () => {
  dataDir = newDataDirectory();
  await store(dataDir, numberedBatches(3));
});

// Of stacks only.
const limits = { width: 1, requestsPerSecond: 1, inFlightMs: 0 };
const ranges = { dates: undefined, received: undefined, threads: undefined };
const steps = {
  dryRun: false,
  withoutDamaged: false,
  replaced: undefined,
  dates: undefined,
  workDir: '',
};
const letters = { json: true, limit: 1, ids: [], reason: undefined };
const filters = {
  range: undefined,
  types: [],
  states: [],
  groupBy: undefined,
  format: 'json',
  hasByteOrderMark: false,
  watchMs: undefined,
} as const;

function commands(): [string, () => Promise<number>][] {
  const place = { dataDir };
  return [
    ['audit', () => audit({ place, ...ranges, json: true, ...limits })],
    ['rebuild', () => rebuild({ place, ...steps, json: true, ...limits })],
    [
      'rebuild --drop-old',
      () => rebuild({ place, ...steps, replaced: 'drop', json: true, ...limits }),
    ],
    ['stats', () => stats({ source: { dataDir }, ...filters })],
    ['dlq list', () => dlqList({ place, ...letters })],
    ['dlq redrive', () => dlqRedrive({ place, ...letters })],
    ['dlq drop', () => dlqDrop({ place, ...letters })],
  ];
}

describe.each(commands().map(([name], index) => [name, index] as const))('%s', (_, index) => {
  const run = () => commands()[index]?.[1]();

  it('says which file is no database, and what to do', async () => {
    const { database } = dataPaths(dataDir);
    for (const end of ['-wal', '-shm']) rmSync(`${database}${end}`, { force: true });
    writeFileSync(database, 'garbage '.repeat(1000));
    const told = `${database} is damaged. Move it and its -wal and -shm files away and start again`;
    await expect(run()).rejects.toThrow(told);
  });
});

it.each([
  ['audit', 'counters'],
  ['rebuild', 'counters'],
  ['stats', 'counters'],
  ['dlq list', 'dead_letters'],
  ['dlq redrive', 'dead_letters'],
  ['dlq drop', 'dead_letters'],
])('%s says so too where the table %s is missing', async (name, table) => {
  change(dataDir, `DROP TABLE ${table}`);
  const run = commands().find(([each]) => each === name)?.[1];
  await expect(run?.()).rejects.toThrow(`${dataPaths(dataDir).database} is damaged. Move it`);
});

/** Another user, who may not look into the directory; or its owner, who took the right away. */
function withoutRights(act: () => void): void {
  const isRoot = process.geteuid?.() === 0;
  chmodSync(dataDir, isRoot ? 0o700 : 0);
  if (isRoot) process.seteuid?.('nobody');
  try {
    act();
  } finally {
    if (isRoot) process.seteuid?.(0);
    else chmodSync(dataDir, 0o700);
  }
}

it.each<[string, () => unknown]>([
  ['the counters', () => openDatabaseReadOnly(dataPaths(dataDir).database)],
  ['the log', () => logEndOf(dataDir)],
  ['a raw batch', () => findStoredBody(dataDir, '00000000-0000-4000-8000-000000000000')],
])('says that this user may not read %s of another', (_, act) => {
  withoutRights(() => {
    expect(act).toThrow(
      /This user may not read .* \(EACCES\)\. Run this as the user that the server/,
    );
  });
});

it('does not advise to make new tokens where those of another cannot be read', () => {
  writeFileSync(dataPaths(dataDir).tokens, '{"tokens":[]}');
  withoutRights(() => {
    expect(() => readTokenFile(dataPaths(dataDir))).toThrow(
      /tokens\.json cannot be read \(EACCES\)\. Give this user permission/,
    );
  });
});

it('says that a data directory is missing, and makes none', () => {
  const missing = join(dataDir, 'missing');
  const told = `There is no data directory ${missing}.`;
  expect(() => tokenList(missing, false)).toThrow(told);
  expect(() => tokenRevoke(missing, 'a')).toThrow(told);
  expect(() => tokenRotate({ dataDir: missing, name: 'a', overlapMs: 0 })).toThrow(told);
  expect(existsSync(missing)).toBe(false);
});

it('does not change the messages of other errors', async () => {
  const place = { dataDir: `${dataDir}/none` };
  await expect(dlqList({ place, ...letters })).rejects.toThrow('There is no pipeline at');
});
