import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, onTestFinished, vi } from 'vitest';

import {
  restore,
  type RestoreSummary,
} from '../../src/engines/embedded/archive/restore/restore.ts';
import type { ObjectStore } from '../../src/engines/embedded/archive/stores/object-store.ts';
import {
  listSegments as listArchivedSegments,
  onlyLogId,
} from '../../src/engines/embedded/archive/read-archive.ts';
import { openObjectStore } from '../../src/engines/embedded/archive/stores/open-object-store.ts';
import type { ArchiveOptions } from '../../src/engines/embedded/archive/archive-messages.ts';
import { EmbeddedPipeline } from '../../src/engines/embedded/embedded-pipeline.ts';
import { embeddedDefaults, type EmbeddedOptions } from '../../src/engines/embedded/options.ts';
import { dataPaths } from '../../src/engines/embedded/data-directory.ts';
import { nodeFileSystem } from '../../src/engines/embedded/log/file-system.ts';
import { openStatsReader } from '../../src/engines/embedded/reader/stats-reader.ts';
import { listSegments } from '../../src/engines/embedded/log/segment.ts';
import {
  newDataDirectory,
  openWriter,
  testSegmentBytes,
  type StoredTestBatch,
} from './embedded-store.ts';

/** The URL of an empty directory for an archive. */
export function newArchive(): string {
  const path = join(newDataDirectory(), 'archive');
  mkdirSync(path);
  return pathToFileURL(path).href;
}

export async function openArchive(url: string): Promise<ObjectStore> {
  const store = await openObjectStore(url);
  onTestFinished(() => store.close());
  return store;
}

/**
 * Stores batches in a data directory whose log is archived, all of it.
 * @param meanwhile called before the pipeline ends.
 */
export async function storeArchived(
  dataDir: string,
  url: string,
  batches: readonly StoredTestBatch[],
  {
    archive,
    ...options
  }: Partial<Omit<EmbeddedOptions, 'archive'>> & {
    archive?: Partial<ArchiveOptions>;
  } = {},
  meanwhile: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const rate = { intervalMs: 10, bytesPerSecondMax: 1_000_000_000 };
  const pipeline = await EmbeddedPipeline.open(
    {
      ...{ ...embeddedDefaults, segmentBytes: testSegmentBytes, dataDir, ...options },
      archive: { url, isSync: true, ...rate, ...archive },
    },
    (message) => expect.fail(message),
  );
  try {
    const outcomes = batches.map(({ items, key }) => {
      const body = Buffer.from(JSON.stringify({ processed_devices: items }));
      const submission = { body, encoding: 'identity', strict: false, caller: '' } as const;
      return pipeline.ingest({ ...submission, idempotencyKey: key });
    });
    for (const outcome of await Promise.all(outcomes)) {
      if (!outcome.accepted) throw new Error(outcome.problem.detail);
    }
    await meanwhile();
    // A pipeline that ends merges for a few seconds only.
    await vi.waitUntil(() => isMerged(url, dataDir), { timeout: 500_000, interval: 5 });
  } finally {
    await pipeline.close();
  }
}

/** Whether the archive holds all segments that are complete as one object each. */
async function isMerged(url: string, dataDir: string): Promise<boolean> {
  const store = await openObjectStore(url);
  try {
    const merged = await listArchivedSegments(store, await onlyLogId(store));
    const open = listSegments(nodeFileSystem, dataPaths(dataDir).log).at(-1)?.base ?? 0;
    return (merged.at(-1)?.end ?? 0) >= open;
  } finally {
    store.close();
  }
}

/**
 * An archive that the tests of a file copy: each part is stored by another server. Call it in a test file.
 */
export function archiveTemplate(parts: readonly (readonly StoredTestBatch[])[]) {
  const root = mkdtempSync(join(tmpdir(), 'device-pipeline-'));
  const [dataDir, archive] = [join(root, 'data'), join(root, 'archive')];
  beforeAll(async () => {
    mkdirSync(archive);
    for (const part of parts) await storeArchived(dataDir, pathToFileURL(archive).href, part);
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  return {
    dataDir,
    /** A copy for one test: its URL, and the store open on it. */
    async copy(): Promise<{ url: string; store: ObjectStore }> {
      const url = newArchive();
      cpSync(archive, fileURLToPath(url), { recursive: true });
      return { url, store: await openArchive(url) };
    },
  };
}

/** Removes all segments of a data directory but the last, as --keep-raw does. */
export async function removeRaw(dataDir: string): Promise<void> {
  const writer = openWriter(dataDir, { keepRawMs: 0 });
  const { log } = dataPaths(dataDir);
  const isRemoved = () => listSegments(nodeFileSystem, log).length === 1;
  await vi.waitUntil(isRemoved, { timeout: 500_000 });
  await writer.close();
}

export function restoreFrom(
  store: ObjectStore,
  dataDir: string,
  { until, isUpToDamage = false }: { until?: number; isUpToDamage?: boolean } = {},
): Promise<RestoreSummary> {
  const options = { until, isUpToDamage, logId: undefined, onProgress: () => undefined };
  return restore({ store, dataDir, ...options });
}

export async function namesIn(store: ObjectStore, part = ''): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list('')) if (name.includes(part)) names.push(name);
  return names;
}

/** The counts of a data directory by type and state. */
export function countersOf(dataDir: string): Record<string, number> {
  const reader = openStatsReader(dataDir);
  const rows = [...reader.query({ from: '0001-01-01', to: '9999-12-31', types: [], states: [] })];
  reader.close();
  return Object.fromEntries(
    rows.flat().map(({ type, state, count }) => [`${type} ${state}`, count]),
  );
}
