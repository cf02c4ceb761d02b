import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';

import { isBatchId, rawKeyOf, readRawKey, timeOfBatchId } from '../../domain/batch-id.ts';
import { DynamodbBatchRecords } from '../../engines/aws/ledger/batch-records.ts';
import { inParallel } from '../../util/in-parallel.ts';
import {
  s3RawStore,
  startOf,
  type S3RawBatch,
  type S3RawStore,
} from '../../engines/aws/intake/raw-store.ts';
import type { StackPlace } from '../cli/common-options.ts';
import { exportListOf } from '../cli/directory-kinds.ts';
import { UsageError } from '../cli/option-parsers.ts';
import { withThousands, openProgress } from '../cli/progress.ts';
import type { RawRangeOptions } from './raw-options.ts';
import { batchLine } from './raw-text.ts';
import { withStore, type AwsStore } from '../cli/stack.ts';

/** Concurrent requests. A body has at most 4 MiB, and a page of a listing has 1,000 objects. */
const parallelHeads = 32;
const parallelBodies = 16;

/** Prints a line of JSON for each batch. Returns the exit code. */
export function rawListOfStack(
  place: StackPlace,
  { received, isBrief }: RawRangeOptions,
): Promise<number> {
  return withStore(place, process.env, async (stack) => {
    const store = s3RawStore(stack.s3, stack.rawBucket);
    for await (const page of pagesOf(store, received)) {
      const lines = await inParallel(parallelHeads, page, async ({ rawKey, receivedAt, bytes }) => {
        if (isBrief) return `${batchLine({ rawKey, receivedAt, bytes })}\n`;
        const head = await store.head(rawKey);
        // Undefined if it was deleted since it was listed.
        return head === undefined ? '' : `${batchLine({ rawKey, receivedAt, ...head })}\n`;
      });
      if (!process.stdout.write(lines.join(''))) await once(process.stdout, 'drain');
    }
    return 0;
  });
}

/** Writes the body of a batch to standard output, byte for byte as received. */
export function rawGetOfStack(place: StackPlace, wanted: string): Promise<number> {
  if (readRawKey(wanted) === undefined && !isBatchId(wanted)) {
    throw new UsageError(`'${wanted}' is neither a raw key (raw/….json) nor a batch id`);
  }
  return withStore(place, process.env, async (stack) => {
    const raw = await find(stack, wanted);
    if (raw === undefined) throw new Error(`${wanted} is not in the bucket ${stack.rawBucket}.`);
    if (!process.stdout.write(raw.body)) await once(process.stdout, 'drain');
    return 0;
  });
}

async function find(stack: AwsStore, wanted: string): Promise<S3RawBatch | undefined> {
  const store = s3RawStore(stack.s3, stack.rawBucket);
  if (readRawKey(wanted) !== undefined) return await store.get(wanted);
  // Our batch ids contain their creation time, which is usually the time of receipt.
  const time = timeOfBatchId(wanted);
  const guessed = time === undefined ? undefined : await store.get(rawKeyOf(wanted, time));
  if (guessed !== undefined) return guessed;
  const { dynamodb: client, ledgerTable, keepMs } = stack;
  const records = new DynamodbBatchRecords({ client, ledgerTable, keepMs });
  const receivedAt = ledgerTable === '' ? undefined : await records.receivedAt(wanted);
  if (receivedAt !== undefined) return await store.get(rawKeyOf(wanted, receivedAt));
  throw new Error(
    `The ledger no longer has the raw key of ${wanted}. Give the raw key itself; raw list shows it.`,
  );
}

/**
 * Writes the bodies as files, in the layout of the bucket, with a line for each batch in
 * `batches.ndjson`. Does not download bodies again that an earlier export wrote. Returns the exit code.
 */
export function rawExportOfStack(
  place: StackPlace,
  { received, isBrief }: RawRangeOptions,
  directory: string,
): Promise<number> {
  return withStore(place, process.env, async (stack) => {
    const store = s3RawStore(stack.s3, stack.rawBucket);
    await mkdir(join(directory, 'raw'), { recursive: true });
    const path = exportListOf(directory);
    const list = createWriteStream(`${path}.part`);
    const progress = openProgress(undefined);
    const { dayZone } = stack;
    const zone = dayZone === undefined ? {} : { dayZone };
    let batches = 0;
    let bytes = 0;
    for await (const page of pagesOf(store, received)) {
      const lines = await inParallel(parallelBodies, page, async (listed) => {
        const line = await exportBatch(store, directory, { ...listed, ...zone }, isBrief);
        if (line !== undefined) batches++;
        bytes += listed.bytes;
        progress.update(
          batches,
          `${withThousands(batches)} batches, ${withThousands(bytes)} bytes`,
        );
        return line === undefined ? '' : `${line}\n`;
      });
      if (!list.write(lines.join(''))) await once(list, 'drain');
    }
    list.end();
    await finished(list);
    await rename(`${path}.part`, path);
    progress.stop();
    process.stdout.write(`${withThousands(batches)} batches in ${directory}\n`);
    return 0;
  });
}

interface Listed {
  readonly rawKey: string;
  readonly receivedAt: number;
  readonly bytes: number;
}

/** Writes a body and returns its line of the list; undefined if it was deleted meanwhile. */
async function exportBatch(
  store: S3RawStore,
  directory: string,
  listed: Listed & { readonly dayZone?: string },
  isBrief: boolean,
): Promise<string | undefined> {
  const path = join(directory, listed.rawKey);
  // A file with its final name is complete, and a body never changes.
  if ((await sizeOf(path)) === listed.bytes) {
    const head = isBrief ? { bytes: listed.bytes } : await store.head(listed.rawKey);
    return head && batchLine({ ...listed, ...head });
  }
  const raw = await store.get(listed.rawKey);
  if (raw === undefined) return undefined;
  await writeFile(`${path}.part`, raw.body);
  await rename(`${path}.part`, path);
  const line = { ...listed, bytes: raw.body.length };
  return batchLine(isBrief ? line : { ...line, details: raw });
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function* pagesOf(
  store: S3RawStore,
  received: RawRangeOptions['received'],
): AsyncGenerator<Listed[]> {
  const after = startOf(Math.max(0, received?.from ?? 0));
  const to = received?.to ?? Number.MAX_SAFE_INTEGER;
  const before = to > lastTime ? {} : { before: startOf(to) };
  for await (const page of store.objects({ after, ...before })) {
    yield page.flatMap(({ rawKey, bytes }) => {
      const identity = readRawKey(rawKey);
      // Not one of our keys.
      return identity === undefined ? [] : [{ rawKey, receivedAt: identity.receivedAt, bytes }];
    });
  }
}

/** Later times have no four-digit year, as raw keys need. */
const lastTime = Date.UTC(9999, 11, 31);
