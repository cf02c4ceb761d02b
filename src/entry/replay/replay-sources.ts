import { createReadStream, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { readRawKey } from '../../domain/batch-id.ts';
import { asWritten } from '../../domain/day.ts';
import { fromRanges, type Ranges } from '../../domain/index-ranges.ts';
import { s3RawStore, startOf } from '../../engines/aws/intake/raw-store.ts';
import {
  dayZoneOf,
  logEndOf,
  rawBatches,
  keptKeys,
  replayGaps,
} from '../../engines/embedded/store/raw-batches.ts';
import type { ContentEncoding, ReplayOrigin } from '../../pipeline/ports.ts';
import { exportListOf, holdsExport } from '../cli/directory-kinds.ts';
import { fileErrorText } from '../cli/file-errors.ts';
import { withLocalStore } from '../cli/local-store.ts';
import type { ReplayOptions } from './replay-options.ts';
import { openStack } from '../../engines/aws/admin/stack.ts';

/** A batch with everything that is replayed with it. */
export interface SourceBatch {
  readonly rawKey: string;
  readonly body: Uint8Array;
  readonly encoding: ContentEncoding;
  readonly caller: string;
  readonly idempotencyKey: string | undefined;
  readonly replayOf: ReplayOrigin;
}

export type Found =
  | {
      readonly kind: 'batch';
      readonly rawKey: string;
      /** How far the source is read after this batch, in the unit of `ReplaySource.total`. */
      readonly at: number;
      readonly load: () => Promise<SourceBatch>;
    }
  /** Not counted in the source, and so not replayed. */
  | { readonly kind: 'dead_letter'; readonly rawKey: string }
  /** Batches that the source no longer has. */
  | { readonly kind: 'missing'; readonly detail: string };

export interface ReplaySource {
  /** The day rule; undefined if unknown. */
  readonly dayZone: string | undefined;
  /** The final value of `at`, for progress; undefined if unknown. */
  readonly total: number | undefined;
  batches(): AsyncGenerator<Found, void>;
  /** Whether the batches had idempotency keys, known after all are read. A stack has only hashes. */
  hasKeys(): boolean;
  close(): void;
}

type Received = ReplayOptions['received'];

/** @throws an Error that says what is wrong with the source. */
export async function openSource(
  { from, received }: Pick<ReplayOptions, 'from' | 'received'>,
  env: Record<string, string | undefined>,
): Promise<ReplaySource> {
  if (from.kind === 'stack') return await stackSource(from.name, received, env);
  return holdsExport(from.path)
    ? await exportSource(from.path, exportListOf(from.path), received)
    : withLocalStore(from.path, () => directorySource(from.path, received));
}

function directorySource(dataDir: string, received: Received): ReplaySource {
  const { removedBytes, deadLetters } = replayGaps(dataDir);
  const keys = keptKeys(dataDir);
  return {
    dayZone: dayZoneOf(dataDir),
    total: logEndOf(dataDir),
    // eslint-disable-next-line @typescript-eslint/require-await -- the others wait
    async *batches() {
      if (removedBytes > 0 && received === undefined) {
        const detail = `--keep-raw has deleted ${removedBytes} bytes of raw batches, which cannot be replayed.`;
        yield { kind: 'missing', detail };
      }
      for (const { batch, damage } of rawBatches(dataDir, received)) {
        if (batch === undefined) {
          const { from, to, path, offset } = damage;
          const detail = `${to - from} bytes at byte ${offset} of ${path} are damaged.`;
          yield { kind: 'missing', detail };
          continue;
        }
        const { rawKey, encoding, caller, position: at } = batch;
        if (deadLetters.has(at)) {
          yield { kind: 'dead_letter', rawKey };
          continue;
        }
        // The next batch overwrites the buffer.
        const body = Uint8Array.from(batch.body);
        const loaded = {
          rawKey,
          body,
          encoding,
          caller,
          idempotencyKey: keys.includes(batch) ? batch.idempotencyKey : undefined,
          replayOf: originOf(batch),
        };
        yield { kind: 'batch', rawKey, at, load: () => Promise.resolve(loaded) };
      }
    },
    hasKeys: () => true,
    close: () => keys.close(),
  };
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
  received: Received,
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

async function stackSource(
  name: string,
  received: Received,
  env: Record<string, string | undefined>,
): Promise<ReplaySource> {
  const stack = await openStack(name, env);
  const store = s3RawStore(stack.s3, stack.rawBucket);
  const after = startOf(received?.from ?? 0);
  const before = isBounded(received) ? { before: startOf(received.to) } : {};
  return {
    dayZone: stack.dayZone,
    total: undefined,
    async *batches() {
      let at = 0;
      for await (const page of store.keys({ after, ...before })) {
        for (const rawKey of page) {
          // Not one of our keys.
          if (readRawKey(rawKey) === undefined) continue;
          const load = async () => {
            const raw = await store.get(rawKey);
            if (raw === undefined) throw new Error(`${rawKey} was deleted during the replay.`);
            const { body, encoding } = raw;
            // The ledger has only hashes of idempotency keys.
            const unkeyed = { caller: '', idempotencyKey: undefined };
            return { rawKey, body, encoding, ...unkeyed, replayOf: originOf(raw) };
          };
          yield { kind: 'batch', rawKey, at: ++at, load };
        }
      }
    },
    hasKeys: () => false,
    close: () => stack.close(),
  };
}

function originOf(origin: ReplayOrigin): ReplayOrigin {
  const { batchId, receivedAt, accepted, rejected, excluded, logId } = origin;
  return {
    ...{ batchId, receivedAt, accepted, rejected },
    ...(excluded !== undefined && { excluded }),
    ...(logId !== undefined && { logId }),
  };
}

function isWithin(receivedAt: number, received: Received): boolean {
  return received === undefined || (receivedAt >= received.from && receivedAt < received.to);
}

function isBounded(received: Received): received is NonNullable<Received> {
  return received !== undefined && received.to < Number.MAX_SAFE_INTEGER;
}
