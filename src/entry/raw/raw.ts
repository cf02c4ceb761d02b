import { once } from 'node:events';
import { closeSync, openSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { isBatchId, readRawKey } from '../../domain/batch-id.ts';
import type { BatchDetails } from '../../pipeline/ports.ts';
import type { RawBatchEntry, RawEntry, StoreAdmin } from '../../pipeline/store-admin.ts';
import { makeDirectories } from '../../util/directories.ts';
import { inParallel } from '../../util/in-parallel.ts';
import { amountOf } from '../../util/thousands.ts';
import type { StorePlace } from '../cli/common-options.ts';
import { checkExportDirectory, exportListOf } from '../cli/check-directories.ts';
import { withStore } from '../cli/open-store.ts';
import { UsageError } from '../cli/option-parsers.ts';
import { openProgress } from '../cli/progress.ts';
import type { RawRangeOptions } from './raw-options.ts';
import { batchLine } from './raw-text.ts';

/** Concurrent requests of a page. A body has at most 4 MiB. */
const parallelDetails = 32;
const parallelBodies = 16;

/** Prints a line of JSON for each batch. Returns the exit code: 1 if some are damaged. */
export function rawList({ place, received, isBrief }: RawRangeOptions): Promise<number> {
  return withStore(place, async ({ raw }) => {
    const damages = new DamageList();
    for await (const page of raw.list(received)) {
      const lines = await inParallel(parallelDetails, damages.skip(page), async (entry) => {
        const details = isBrief ? undefined : await entry.details();
        return isBrief || details !== undefined ? batchLine({ ...entry, details }) : '';
      });
      await write(lines.join(''));
    }
    return damages.exitCode;
  });
}

/** Writes the body of a batch to standard output, byte for byte as received. */
export async function rawGet(place: StorePlace, name: string): Promise<number> {
  if (readRawKey(name) === undefined && !isBatchId(name)) {
    throw new UsageError(`'${name}' is neither a raw key (raw/….json) nor a batch id`);
  }
  return await withStore(place, async ({ raw }) => {
    await write(await raw.get(name));
    return 0;
  });
}

/**
 * Writes the bodies as files, in the layout of the bucket on AWS, with a line for each batch in
 * `batches.ndjson`. Bodies that an earlier export wrote are not downloaded again. Returns the exit code: 1
 * if some are damaged.
 */
export async function rawExport(options: RawRangeOptions, directory: string): Promise<number> {
  checkExportDirectory(directory);
  return await withStore(options.place, (store) => exportStore(store, options, directory));
}

async function exportStore(
  store: StoreAdmin,
  { received, isBrief }: RawRangeOptions,
  directory: string,
): Promise<number> {
  const dayZone = store.dayZone();
  const pages = store.raw.list(received, { keys: 'kept' });
  makeDirectories(join(directory, 'raw'), 0o777);
  const path = exportListOf(directory);
  const list = openSync(`${path}.part`, 'w');
  const progress = openProgress(undefined);
  const damages = new DamageList();
  let batches = 0;
  let bytes = 0;
  try {
    for await (const page of pages) {
      const lines = await inParallel(parallelBodies, damages.skip(page), async (entry) => {
        const path = join(directory, entry.rawKey);
        const found =
          (store.raw.isRemote ? await exportedBody(entry, path, isBrief) : undefined) ??
          (await exportBody(entry, path, isBrief));
        if (found === undefined) return '';
        batches++;
        bytes += found.bytes;
        progress.update(batches, `${amountOf(batches, 'batch')}, ${amountOf(bytes, 'byte')}`);
        return batchLine({ ...entry, ...found, dayZone });
      });
      writeFileSync(list, lines.join(''));
    }
  } finally {
    closeSync(list);
  }
  renameSync(`${path}.part`, path);
  progress.stop();
  process.stdout.write(`${amountOf(batches, 'batch')} in ${directory}\n`);
  return damages.exitCode;
}

interface ExportedBody {
  readonly bytes: number;
  /** Undefined with `--brief`. */
  readonly details: BatchDetails | undefined;
}

/**
 * The body that an earlier export wrote: a file with its final name is complete, and a body never
 * changes. Undefined if there is none.
 */
async function exportedBody(
  entry: RawBatchEntry,
  path: string,
  isBrief: boolean,
): Promise<ExportedBody | undefined> {
  const { bytes } = entry;
  if (statSync(path, { throwIfNoEntry: false })?.size !== bytes) return undefined;
  if (isBrief) return { bytes, details: undefined };
  const details = await entry.details();
  return details && { bytes, details };
}

/** Writes a body; undefined if it was deleted meanwhile. */
async function exportBody(
  entry: RawBatchEntry,
  path: string,
  isBrief: boolean,
): Promise<ExportedBody | undefined> {
  const raw = await entry.load();
  if (raw === undefined) return undefined;
  writeFileSync(`${path}.part`, raw.body);
  renameSync(`${path}.part`, path);
  return { bytes: raw.body.length, details: isBrief ? undefined : raw.details };
}

/** Reports damaged ranges of a raw store on stderr. */
class DamageList {
  exitCode = 0;

  /** Reports the damaged ranges of a page, and returns its batches. */
  skip(page: readonly RawEntry[]): RawBatchEntry[] {
    return page.filter((entry): entry is RawBatchEntry => {
      if (entry.damage === undefined) return true;
      this.exitCode = 1;
      process.stderr.write(`${entry.damage}; the batches in them are skipped\n`);
      return false;
    });
  }
}

async function write(text: string | Uint8Array): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, 'drain');
}
