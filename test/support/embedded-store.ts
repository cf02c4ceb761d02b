import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { expect, onTestFinished } from 'vitest';

import { auditDataDirectory, type AuditOptions } from '../../src/engines/embedded/verify/audit.ts';
import { dataPaths } from '../../src/engines/embedded/data-directory.ts';
import { embeddedDefaults, type EmbeddedOptions } from '../../src/engines/embedded/options.ts';
import {
  rebuildDataDirectory,
  type RebuildOptions,
} from '../../src/engines/embedded/verify/rebuild.ts';
import { Writer } from '../../src/engines/embedded/writer/writer.ts';
import type { Difference } from '../../src/pipeline/findings.ts';

/** Small enough that a few dozen batches fill several segments. */
export const testSegmentBytes = 4096;

export function newDataDirectory(): string {
  const dataDir = mkdtempSync(join(tmpdir(), 'device-pipeline-'));
  onTestFinished(() => rmSync(dataDir, { recursive: true, force: true }));
  return dataDir;
}

export interface Item {
  readonly type: string;
  readonly state: string;
  readonly timestamp: string;
}

export interface StoredTestBatch {
  readonly items: readonly Item[];
  readonly key?: string;
}

/** Stores and counts batches; returns their raw keys. */
export async function store(
  dataDir: string,
  batches: readonly StoredTestBatch[],
  options: Partial<EmbeddedOptions> = {},
): Promise<string[]> {
  const writer = openWriter(dataDir, options);
  const rawKeys: string[] = [];
  for (const { items, key } of batches) {
    const outcome = await writer.ingest({
      body: Buffer.from(JSON.stringify({ processed_devices: items })),
      encoding: 'identity',
      strict: false,
      caller: '',
      idempotencyKey: key,
    });
    if (!outcome.accepted) throw new Error(outcome.problem.detail);
    rawKeys.push(outcome.rawKey);
  }
  await writer.close();
  return rawKeys;
}

export function openWriter(dataDir: string, options: Partial<EmbeddedOptions> = {}): Writer {
  return Writer.open(
    { ...embeddedDefaults, segmentBytes: testSegmentBytes, dataDir, ...options },
    {
      onProgress: () => undefined,
      onFailure: (message) => expect.fail(message),
      onUnexpectedError: (message) => expect.fail(message),
    },
  );
}

/** `count` batches, each with its own item and a shared one; every third has a key. */
export function numberedBatches(count: number): StoredTestBatch[] {
  const timestamp = '2026-03-01T12:00:00Z';
  return Array.from({ length: count }, (_, n) => ({
    items: [
      { type: 'laptop', state: `own ${n}`, timestamp },
      { type: 'phone', state: 'shared', timestamp },
    ],
    ...(n % 3 === 0 && { key: `key ${n}`.replace(' ', '-') }),
  }));
}

export async function auditOf(
  dataDir: string,
  options: Partial<AuditOptions> = {},
): Promise<Difference[]> {
  const differences: Difference[] = [];
  const summary = await auditDataDirectory({
    dataDir,
    dates: undefined,
    received: undefined,
    threads: undefined,
    onDifference: (difference) => differences.push(difference),
    onProgress: () => undefined,
    ...options,
  });
  expect(summary.differences).toBe(differences.length);
  return differences;
}

export function codesOf(differences: readonly Difference[]): string[] {
  return differences.map(({ code }) => code).sort();
}

export function rebuild(dataDir: string, options: Partial<RebuildOptions> = {}) {
  const differences: Difference[] = [];
  const summary = rebuildDataDirectory({
    dataDir,
    dryRun: false,
    withoutDamaged: false,
    onDifference: (difference) => differences.push(difference),
    onProgress: () => undefined,
    now: Date.now,
    ...options,
  });
  return { ...summary, differences };
}

/** Changes the database directly. */
export function change(dataDir: string, sql: string): void {
  const database = new DatabaseSync(dataPaths(dataDir).database, { timeout: 10_000 });
  database.exec(sql);
  database.close();
}
