import { createReadStream, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { readRawKey } from '../../domain/batch-id.ts';
import { asWritten } from '../../domain/day.ts';
import { fromRanges, type Ranges } from '../../domain/index-ranges.ts';
import type { ContentEncoding } from '../../pipeline/ports.ts';
import type { ReceivedRange, ReplaySource } from '../../pipeline/store-admin.ts';
import { exportListOf, holdsExport } from '../cli/directory-kinds.ts';
import { fileErrorText } from '../cli/file-errors.ts';
import { openStore } from '../cli/open-store.ts';
import type { ReplayOptions } from './replay-options.ts';

/** A source, and what closes it. */
type OpenedSource = ReplaySource & { close(): void };

/** @throws an Error that says what is wrong with the source. */
export async function openSource({
  from,
  received,
}: Pick<ReplayOptions, 'from' | 'received'>): Promise<OpenedSource> {
  if (from.dataDir !== undefined && holdsExport(from.dataDir)) {
    return await exportSource(from.dataDir, exportListOf(from.dataDir), received);
  }
  const store = await openStore(from);
  try {
    const source = await store.openReplaySource(received);
    return { ...source, close: () => store.close() };
  } catch (error) {
    throw store.explain(error);
  }
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
): Promise<OpenedSource> {
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
        const { raw_key: rawKey, caller = '', encoding, excluded, log_id: logId } = listed;
        const identity = readRawKey(rawKey);
        if (identity === undefined)
          throw new Error(`${list} contains ${rawKey}, which is not a raw key.`);
        if (!isWithin(identity.receivedAt, received)) continue;
        isEmpty = false;
        hasKeys ||= listed.idempotency_key !== undefined;
        const load = async () => ({
          ...{ rawKey, encoding, caller, idempotencyKey: listed.idempotency_key },
          body: await bodyIn(directory, rawKey),
          replayOf: {
            ...{ ...identity, accepted: listed.accepted, rejected: listed.rejected },
            ...(excluded !== undefined && { excluded: fromRanges(excluded) }),
            ...(logId !== undefined && { logId }),
          },
        });
        yield { kind: 'batch', rawKey, at, load };
      }
    },
    // If no batch has a key, this may be the export of a stack.
    hasKeys: () => isEmpty || hasKeys,
    close: () => undefined,
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

function isWithin(receivedAt: number, received: ReceivedRange | undefined): boolean {
  return received === undefined || (receivedAt >= received.from && receivedAt < received.to);
}
