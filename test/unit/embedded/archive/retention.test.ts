import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import { dayMs } from '../../../../src/engines/embedded/options.ts';
import { rawBatches } from '../../../../src/engines/embedded/store/raw-batches.ts';
import {
  oldSegments,
  removeOldSegments,
} from '../../../../src/engines/embedded/archive/manage/retention.ts';
import { onlyLogId, readArchive } from '../../../../src/engines/embedded/archive/read-archive.ts';
import type { ObjectStore } from '../../../../src/engines/embedded/archive/stores/object-store.ts';
import {
  countersOf,
  namesIn,
  openArchive,
  removeRaw,
  restoreFrom,
  storeArchived,
} from '../../../support/archived-store.ts';
import {
  auditOf,
  change,
  newDataDirectory,
  numberedBatches,
} from '../../../support/embedded-store.ts';

/** A data directory and its archive, before and after the removal of old segments in the former. */
let templates: string;
let dataDir: string;
let store: ObjectStore;
let url: string;

beforeAll(async () => {
  templates = mkdtempSync(join(tmpdir(), 'device-pipeline-'));
  const [whole, removed] = ['whole', 'removed'].map((name) => join(templates, name)) as [
    string,
    string,
  ];
  mkdirSync(join(whole, 'archive'), { recursive: true });
  const archive = pathToFileURL(join(whole, 'archive')).href;
  await storeArchived(join(whole, 'data'), archive, numberedBatches(120));
  cpSync(whole, removed, { recursive: true });
  await removeRaw(join(removed, 'data'));
});

afterAll(() => rmSync(templates, { recursive: true, force: true }));

/** Gives the test a copy of a template. */
async function copyOf(template: 'whole' | 'removed'): Promise<void> {
  const copy = newDataDirectory();
  cpSync(join(templates, template), copy, { recursive: true });
  dataDir = join(copy, 'data');
  url = pathToFileURL(join(copy, 'archive')).href;
  store = await openArchive(url);
}

beforeEach(() => copyOf('removed'));

async function retention(keepMs = 0) {
  return {
    ...{ store, logId: await onlyLogId(store), keepMs },
    databasePath: dataPaths(dataDir).database,
  };
}

describe('retention of an archive', () => {
  it('removes nothing that the data directory still has', async () => {
    await copyOf('whole');
    expect((await namesIn(store, '/log/')).length).toBeGreaterThan(3);
    expect(await oldSegments(await retention())).toEqual([]);
    expect(await removeOldSegments(await retention())).toEqual([]);
  });

  it('removes old segments; a restore keeps their counts', async () => {
    const before = await namesIn(store);
    const removed = await removeOldSegments(await retention());
    expect(removed.length).toBeGreaterThan(2);
    const after = await namesIn(store);
    expect(before.filter((name) => !after.includes(name))).toEqual(removed.map(({ name }) => name));
    expect(after.filter((name) => name.includes('/state/'))).toHaveLength(1);

    const restored = newDataDirectory();
    await restoreFrom(store, restored);
    expect(countersOf(restored)).toEqual(countersOf(dataDir));
    expect(await auditOf(restored)).toEqual([]);
    const { begin } = await readArchive(store, await onlyLogId(store));
    const positions = [...rawBatches(restored, undefined)].map(({ batch }) => batch?.position ?? 0);
    expect(positions.length).toBeGreaterThan(0);
    expect(Math.min(...positions)).toBeGreaterThan(begin);
    expect(await removeOldSegments(await retention())).toEqual([]);
  });

  it('removes only what is in the counters of removed segments', async () => {
    const { segments } = await readArchive(store, await onlyLogId(store));
    const [first, second] = segments;
    change(dataDir, `UPDATE progress SET removed_through = ${(second?.end ?? 0) - 1}`);
    expect(await oldSegments(await retention())).toEqual([first]);
  });

  it('continues: the state of the earlier time is replaced', async () => {
    await removeOldSegments(await retention());
    const [first] = await namesIn(store, '/state/');
    await storeArchived(dataDir, url, numberedBatches(200).slice(120));
    await removeRaw(dataDir);
    const removed = await removeOldSegments(await retention());
    expect(removed.map(({ name }) => name)).toContain(first);
    expect(await namesIn(store, '/state/')).toHaveLength(1);
    const restored = newDataDirectory();
    await restoreFrom(store, restored);
    expect(countersOf(restored)).toEqual(countersOf(dataDir));
    expect(await auditOf(restored)).toEqual([]);
  });

  it('counts the running time of servers, so that no jump of a wall clock makes batches old', async () => {
    expect(await oldSegments(await retention(30 * dayMs))).toEqual([]);
    change(dataDir, `UPDATE progress SET run_ms = run_ms + ${31 * dayMs}`);
    expect((await oldSegments(await retention(30 * dayMs))).length).toBeGreaterThan(2);
  });

  it('keeps what an interrupted removal left readable', async () => {
    const interrupted: ObjectStore = {
      ...{ url: store.url, create: (name, bytes) => store.create(name, bytes) },
      ...{ get: (name) => store.get(name), list: (prefix) => store.list(prefix) },
      async remove(name) {
        interrupted.remove = () => Promise.reject(new Error('cut off'));
        await store.remove(name);
      },
      close: () => undefined,
    };
    const options = { ...(await retention()), store: interrupted };
    await expect(removeOldSegments(options)).rejects.toThrow('cut off');
    const restored = newDataDirectory();
    await restoreFrom(store, restored);
    expect(countersOf(restored)).toEqual(countersOf(dataDir));
    expect(await auditOf(restored)).toEqual([]);
    expect((await removeOldSegments(await retention())).length).toBeGreaterThan(1);
  });

  it('is done by the server itself, at its start', async () => {
    const before = await namesIn(store, '/log/');
    const more = numberedBatches(121).slice(120);
    await storeArchived(dataDir, url, more, { archive: { keepMs: 0 } }, async () => {
      await expect.poll(() => namesIn(store, before[0])).toEqual([]);
    });
    const restored = newDataDirectory();
    await restoreFrom(store, restored);
    expect(countersOf(restored)).toEqual(countersOf(dataDir));
  });
});
