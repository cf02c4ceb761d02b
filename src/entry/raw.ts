import { once } from 'node:events';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { isBatchId, readRawKey } from '../domain/batch-id.ts';
import { dataPaths } from '../engines/embedded/data-directory.ts';
import { nodeFileSystem } from '../engines/embedded/file-system.ts';
import { LogReader } from '../engines/embedded/log-reader.ts';
import { findBatch } from '../engines/embedded/log-raw-store.ts';
import { rawBatches, type FoundBatch } from '../engines/embedded/raw-batches.ts';
import { UsageError } from './option-parsers.ts';
import { grouped, openProgress } from './progress.ts';
import type { RawRangeOptions } from './raw-options.ts';

/** Prints a line of JSON for each batch. Returns the exit code: 1 where some are damaged. */
export async function rawList({ dataDir, received }: RawRangeOptions): Promise<number> {
  let damaged = 0;
  for (const found of rawBatches(dataDir, received)) {
    if (found.damage !== undefined) damaged += warnOf(found.damage);
    else if (!process.stdout.write(`${lineOf(found.batch)}\n`)) await once(process.stdout, 'drain');
  }
  return damaged === 0 ? 0 : 1;
}

/** Writes the body of a batch to standard output, byte for byte as it came. */
export async function rawGet(dataDir: string, name: string): Promise<number> {
  const batchId = readRawKey(name)?.batchId ?? name;
  if (!isBatchId(batchId)) {
    throw new UsageError(`'${name}' is neither a raw key (raw/….json) nor a batch id`);
  }
  const reader = new LogReader(nodeFileSystem, dataPaths(dataDir).log);
  try {
    const record = findBatch(reader, batchId);
    if (record === undefined) throw new Error(`${name} is not in the raw store of ${dataDir}.`);
    if (!process.stdout.write(record.body)) await once(process.stdout, 'drain');
    return 0;
  } finally {
    reader.close();
  }
}

/**
 * Writes the bodies as files into a directory, in the layout of the bucket on AWS, with a line for
 * each in `batches.ndjson`. Returns the exit code: 1 where some are damaged.
 */
export function rawExport({ dataDir, received }: RawRangeOptions, directory: string): number {
  mkdirSync(join(directory, 'raw'), { recursive: true });
  const list = join(directory, 'batches.ndjson');
  writeFileSync(`${list}.part`, '');
  const progress = openProgress(undefined);
  let batches = 0;
  let damaged = 0;
  for (const found of rawBatches(dataDir, received)) {
    if (found.damage !== undefined) {
      damaged += warnOf(found.damage);
      continue;
    }
    const path = join(directory, found.batch.rawKey);
    // A file under its name is whole, however an earlier export ended.
    writeFileSync(`${path}.part`, found.batch.body);
    renameSync(`${path}.part`, path);
    writeFileSync(`${list}.part`, `${lineOf(found.batch)}\n`, { flag: 'a' });
    batches++;
    progress.update(batches, `${grouped(batches)} batches`);
  }
  renameSync(`${list}.part`, list);
  progress.stop();
  process.stdout.write(`${grouped(batches)} batches in ${directory}\n`);
  return damaged === 0 ? 0 : 1;
}

type Batch = Extract<FoundBatch, { damage?: never }>['batch'];

function lineOf({ rawKey, receivedAt, body, encoding, accepted, rejected }: Batch): string {
  const received = new Date(receivedAt).toISOString();
  const line = { raw_key: rawKey, received_at: received, bytes: body.length, encoding };
  return JSON.stringify({ ...line, accepted, rejected });
}

function warnOf({
  from,
  to,
  path,
  offset,
}: {
  from: number;
  to: number;
  path: string;
  offset: number;
}): 1 {
  process.stderr.write(
    `${to - from} bytes at byte ${offset} of ${path} are damaged; what was stored there is passed over\n`,
  );
  return 1;
}
