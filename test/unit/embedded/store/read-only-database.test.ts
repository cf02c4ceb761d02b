import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, readdirSync, utimesSync } from 'node:fs';
import { join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import { ImmutableDatabase } from '../../../../src/engines/embedded/store/read-only-database.ts';
import type { Writer } from '../../../../src/engines/embedded/writer/writer.ts';
import {
  newDataDirectory,
  numberedBatches,
  openWriter,
  store,
} from '../../../support/embedded-store.ts';

const readStore = join(import.meta.dirname, '../../../support/read-store.ts');

it('reports a write to a database that was opened as immutable', async () => {
  const dataDir = newDataDirectory();
  await store(dataDir, numberedBatches(1));
  const { database: path } = dataPaths(dataDir);
  const database = new ImmutableDatabase(path);
  expect(database.prepare('SELECT count(*) AS count FROM counters').get()).toEqual({ count: 2 });
  utimesSync(path, 1, 1);
  expect(() => database.close()).toThrow(/was written to while it was read. Run the command again/);
});

/** The files of the database that a copy may have; what is counted last is in the journal alone. */
const copies = {
  'as it is after a stop': [''],
  'with the journal alone': ['', '-wal'],
  'of a live directory': ['', '-wal', '-shm'],
};

describe('a copy in which nothing can be written', () => {
  let parent: string;
  let writer: Writer | undefined;

  beforeEach(() => {
    parent = newDataDirectory();
    chmodSync(parent, 0o755);
  });

  afterEach(async () => {
    await writer?.close();
    for (const name of readdirSync(parent)) makeWritable(join(parent, name));
  });

  it('is read by stats, audit and raw, whichever files it has', async () => {
    const live = join(parent, 'live');
    await store(live, numberedBatches(10));
    const [stopped, ...others] = Object.values(copies);
    const directories = [copyOf(live, 'stopped', stopped)];
    // What is open keeps the journal.
    writer = openWriter(live);
    await writer.ingest({
      body: Buffer.from(JSON.stringify({ processed_devices: [] })),
      encoding: 'identity',
      strict: false,
      caller: '',
      idempotencyKey: undefined,
    });
    await expect
      .poll(() => {
        const { countedThrough, durableEnd } = writer?.progress() ?? {};
        return countedThrough === durableEnd;
      })
      .toBe(true);
    directories.push(
      ...others.map((suffixes) => copyOf(live, `copy${suffixes.join('')}`, suffixes)),
    );
    const temporary = join(parent, 'temporary');
    mkdirSync(temporary);
    chmodSync(temporary, 0o777);
    const { stdout, stderr } = spawnSync(process.execPath, [readStore, ...directories], {
      encoding: 'utf8',
      env: { ...process.env, TMPDIR: temporary },
    });
    const found = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line || '{}') as unknown);
    expect({ found, stderr }).toEqual({
      found: [10, 11, 11].map((batches) => ({ counted: 20, differences: 0, batches })),
      stderr: '',
    });
    expect(readdirSync(temporary)).toEqual([]);
  });

  function copyOf(live: string, name: string, suffixes: readonly string[] = []): string {
    const copy = join(parent, name);
    mkdirSync(copy);
    cpSync(dataPaths(live).log, dataPaths(copy).log, { recursive: true });
    for (const suffix of suffixes) {
      cpSync(`${dataPaths(live).database}${suffix}`, `${dataPaths(copy).database}${suffix}`);
    }
    for (const each of readdirSync(copy, { recursive: true, withFileTypes: true })) {
      chmodSync(join(each.parentPath, each.name), each.isDirectory() ? 0o555 : 0o444);
    }
    chmodSync(copy, 0o555);
    return copy;
  }
});

function makeWritable(directory: string): void {
  chmodSync(directory, 0o755);
  for (const each of readdirSync(directory, { withFileTypes: true })) {
    if (each.isDirectory()) makeWritable(join(directory, each.name));
  }
}
