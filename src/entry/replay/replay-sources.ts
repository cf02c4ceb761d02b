import { createReadStream, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { readRawKey } from '../../domain/batch-id.ts';
import { asWritten } from '../../domain/day.ts';
import { fromRanges, type Ranges } from '../../domain/index-ranges.ts';
import type { BatchDetails, ContentEncoding } from '../../pipeline/ports.ts';
import {
  isWithin,
  type RawBatchEntry,
  type ReceivedRange,
  type ReplayFacts,
  type StoreAdmin,
} from '../../pipeline/store-admin.ts';
import { exportListOf, holdsExport } from '../cli/check-directories.ts';
import { fileErrorText } from '../cli/file-errors.ts';
import { openStore } from '../cli/open-store.ts';
import { archiveSource } from '../archive/archive-source.ts';
import {
  sourceBatch,
  type ReplaySource,
  type SourceBatch,
  type SourceEntry,
} from './replay-source.ts';
import type { ReplayOptions } from './replay-options.ts';

/** @throws an Error that says what is wrong with the source. */
export async function openSource({
  from,
  received,
}: Pick<ReplayOptions, 'from' | 'received'>): Promise<ReplaySource> {
  if (from.archive !== undefined) return await archiveSource(from, received);
  if (from.dataDir !== undefined && holdsExport(from.dataDir)) {
    return await exportSource(from.dataDir, exportListOf(from.dataDir), received);
  }
  const store = await openStore(from);
  try {
    const facts = await store.replayFacts();
    return {
      ...{ dayZone: store.dayZone(), total: facts.total },
      batches: () => readStore(store, facts, received),
      hasKeys: () => facts.hasKeys,
      close: () => store.close(),
    };
  } catch (error) {
    store.close();
    throw store.explain(error);
  }
}

async function* readStore(
  store: StoreAdmin,
  { deadLetters, missing }: ReplayFacts,
  received: ReceivedRange | undefined,
): AsyncGenerator<SourceEntry, void> {
  if (missing !== undefined && received === undefined) yield { kind: 'missing', detail: missing };
  for await (const page of store.raw.list(received, { keys: 'kept' })) {
    for (const entry of page) {
      if (entry.damage !== undefined) yield { kind: 'missing', detail: `${entry.damage}.` };
      else if (deadLetters.has(entry.at)) yield { kind: 'dead_letter', rawKey: entry.rawKey };
      else {
        const { rawKey, at } = entry;
        yield { kind: 'batch', rawKey, at, load: () => loadBatch(entry) };
      }
    }
  }
}

async function loadBatch(entry: RawBatchEntry): Promise<SourceBatch> {
  const { rawKey } = entry;
  const raw = await entry.load();
  if (raw === undefined) throw new Error(`${rawKey} was deleted during the replay.`);
  return sourceBatch(rawKey, raw.body, raw.details);
}

/** A line of `batches.ndjson`. */
interface ListedBatch {
  readonly raw_key: string;
  readonly encoding: ContentEncoding;
  readonly accepted: number;
  readonly rejected: number;
  readonly excluded?: Ranges;
  readonly caller?: string;
  readonly idempotency_key?: string;
  readonly log_id?: string;
  readonly day_zone?: string;
}

async function exportSource(
  directory: string,
  list: string,
  received: ReceivedRange | undefined,
): Promise<ReplaySource> {
  const dayZone = await dayZoneOfExport(list);
  let isEmpty = true;
  let hasKeys = false;
  return {
    dayZone,
    total: statSync(list).size,
    async *batches() {
      let at = 0;
      for await (const line of createInterface({ input: createReadStream(list) })) {
        at += Buffer.byteLength(line) + 1;
        const listed = JSON.parse(line) as ListedBatch;
        const rawKey = listed.raw_key;
        const identity = readRawKey(rawKey);
        if (identity === undefined)
          throw new Error(`${list} contains ${rawKey}, which is not a raw key.`);
        if (!isWithin(identity.receivedAt, received)) continue;
        isEmpty = false;
        hasKeys ||= listed.idempotency_key !== undefined;
        const load = async () =>
          sourceBatch(rawKey, await bodyIn(directory, rawKey), detailsOf(listed));
        yield { kind: 'batch', rawKey, at, load };
      }
    },
    // If no batch has a key, this may be the export of a stack.
    hasKeys: () => isEmpty || hasKeys,
    close: () => undefined,
  };
}

function detailsOf(listed: ListedBatch): BatchDetails {
  const { encoding, accepted, rejected, excluded, caller } = listed;
  return {
    ...{ encoding, accepted, rejected, caller },
    ...{ idempotencyKey: listed.idempotency_key, logId: listed.log_id },
    ...(excluded !== undefined && { excluded: fromRanges(excluded) }),
  };
}

async function bodyIn(directory: string, rawKey: string): Promise<Buffer> {
  try {
    return await readFile(join(directory, rawKey));
  } catch (error) {
    throw new Error(
      `${join(directory, rawKey)}, listed in batches.ndjson: ${fileErrorText(error)}`,
      {
        cause: error,
      },
    );
  }
}

/** All batches come from one store, so the first line has the day rule; none means `as-written`. */
async function dayZoneOfExport(list: string): Promise<string | undefined> {
  const input = createReadStream(list);
  try {
    for await (const line of createInterface({ input })) {
      return (JSON.parse(line) as ListedBatch).day_zone ?? asWritten;
    }
    return undefined;
  } finally {
    input.destroy();
  }
}
