import { once } from 'node:events';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { isBatchId, readRawKey } from '../../domain/batch-id.ts';
import {
  dayZoneOf,
  findStoredBody,
  rawBatches,
  keptKeys,
  type FoundBatch,
  type KeptKeys,
} from '../../engines/embedded/store/raw-batches.ts';
import type { StorePlace } from '../cli/common-options.ts';
import { checkExportDirectory, exportListOf } from '../cli/directory-kinds.ts';
import { withLocalStore } from '../cli/local-store.ts';
import { UsageError } from '../cli/option-parsers.ts';
import { withThousands, openProgress } from '../cli/progress.ts';
import type { RawRangeOptions } from './raw-options.ts';
import { batchLine } from './raw-text.ts';

/** Prints a line of JSON for each batch. Returns the exit code: 1 if some are damaged. */
export async function rawList(options: RawRangeOptions): Promise<number> {
  const { place, received, isBrief } = options;
  if (place.stack !== undefined) {
    const { rawListOfStack } = await import('./stack-raw.ts');
    return await rawListOfStack(place.stack, options);
  }
  let damaged = 0;
  for (const found of rawBatches(place.dataDir, received)) {
    if (found.damage !== undefined) damaged += warnOfDamage(found.damage);
    else if (!process.stdout.write(`${lineOf(found.batch, isBrief)}\n`)) {
      await once(process.stdout, 'drain');
    }
  }
  return damaged === 0 ? 0 : 1;
}

/** Writes the body of a batch to standard output, byte for byte as received. */
export async function rawGet(place: StorePlace, name: string): Promise<number> {
  if (place.stack !== undefined) {
    const { rawGetOfStack } = await import('./stack-raw.ts');
    return await rawGetOfStack(place.stack, name);
  }
  const { dataDir } = place;
  const batchId = readRawKey(name)?.batchId ?? name;
  if (!isBatchId(batchId)) {
    throw new UsageError(`'${name}' is neither a raw key (raw/….json) nor a batch id`);
  }
  const body = findStoredBody(dataDir, batchId);
  if (body === undefined) throw new Error(`${name} is not in the raw store of ${dataDir}.`);
  if (!process.stdout.write(body)) await once(process.stdout, 'drain');
  return 0;
}

/**
 * Writes the bodies as files, in the layout of the bucket on AWS, with a line for each batch in
 * `batches.ndjson`; expired idempotency keys are omitted. Returns the exit code: 1 if some are damaged.
 */
export async function rawExport(options: RawRangeOptions, directory: string): Promise<number> {
  const { place } = options;
  checkExportDirectory(directory);
  if (place.stack !== undefined) {
    const { rawExportOfStack } = await import('./stack-raw.ts');
    return await rawExportOfStack(place.stack, options, directory);
  }
  const { dataDir } = place;
  return await withLocalStore(dataDir, () => {
    const dayZone = dayZoneOf(dataDir);
    const keys = keptKeys(dataDir);
    try {
      return exportOf({ dataDir, dayZone, keys }, options, directory);
    } finally {
      keys.close();
    }
  });
}

function exportOf(
  {
    dataDir,
    dayZone,
    keys,
  }: { readonly dataDir: string; readonly dayZone: string; readonly keys: KeptKeys },
  { received, isBrief }: RawRangeOptions,
  directory: string,
): number {
  mkdirSync(join(directory, 'raw'), { recursive: true });
  const list = exportListOf(directory);
  writeFileSync(`${list}.part`, '');
  const progress = openProgress(undefined);
  let batches = 0;
  let damaged = 0;
  for (const found of rawBatches(dataDir, received)) {
    if (found.damage !== undefined) {
      damaged += warnOfDamage(found.damage);
      continue;
    }
    const path = join(directory, found.batch.rawKey);
    // A file with its final name is complete, even if the export is interrupted.
    writeFileSync(`${path}.part`, found.batch.body);
    renameSync(`${path}.part`, path);
    const batch = keys.includes(found.batch)
      ? found.batch
      : { ...found.batch, idempotencyKey: undefined };
    writeFileSync(`${list}.part`, `${lineOf(batch, isBrief, dayZone)}\n`, { flag: 'a' });
    batches++;
    progress.update(batches, `${withThousands(batches)} batches`);
  }
  renameSync(`${list}.part`, list);
  progress.stop();
  process.stdout.write(`${withThousands(batches)} batches in ${directory}\n`);
  return damaged === 0 ? 0 : 1;
}

type Batch = Extract<FoundBatch, { damage?: never }>['batch'];

function lineOf(batch: Batch, isBrief: boolean, dayZone?: string): string {
  const { rawKey, receivedAt, body } = batch;
  const line = {
    rawKey,
    receivedAt,
    bytes: body.length,
    ...(dayZone !== undefined && { dayZone }),
  };
  return batchLine(isBrief ? line : { ...line, details: batch });
}

function warnOfDamage({
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
    `${to - from} bytes at byte ${offset} of ${path} are damaged; the batches in them are skipped\n`,
  );
  return 1;
}
