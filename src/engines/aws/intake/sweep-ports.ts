import type { SQSClient } from '@aws-sdk/client-sqs';

import type { BatchId } from '../../../domain/batch-id.ts';
import { areAllCounted, type CutBatch } from '../../../pipeline/chunks/recut.ts';
import type { ChunkQueue, DeadLetterSink } from '../../../pipeline/ports.ts';
import type { BatchState, FinishedIntake, SweepPorts } from '../../../pipeline/sweep/ports.ts';
import type { Backoff } from '../../../util/backoff.ts';
import { batchGet } from '../ledger/items.ts';
import { dedupKeyOf, dedupStateIn, readDedupRows, type DedupKey } from '../ledger/dedup-records.ts';
import { DynamodbBatchRecords } from '../ledger/batch-records.ts';
import { readProgress, type LedgerReaderOptions } from '../ledger/receipts.ts';
import { dynamodbSweepProgress } from '../ledger/sweep-progress.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import {
  batchIdOf,
  batchKey,
  keyItem,
  numberOf,
  textOf,
  type Item,
} from '../ledger/ledger-table.ts';
import { messagesIn } from '../queue/queue-depth.ts';
import type { S3RawStore } from './raw-store.ts';

interface AwsSweepOptions {
  readonly ledger: Omit<LedgerReaderOptions, 'now'>;
  readonly rawStore: S3RawStore;
  readonly queue: ChunkQueue;
  readonly sqs: Pick<SQSClient, 'send'>;
  readonly queueUrl: string;
  readonly deadLetters: DeadLetterSink;
  /** The backoff between requests for keys that DynamoDB left unprocessed. */
  readonly backoff: Backoff;
  /** How many batches, or requests for 100 ledger rows each, to work on concurrently. */
  readonly width: number;
}

/** The limit of the stored bodies in memory, and of the inflated bodies that are cut into chunks. */
const bodiesBytesMax = 64 * 1024 * 1024;
/** The largest body of a client. The assumed size of a body that the current listing lacks. */
const unlistedBytes = 4 * 1024 * 1024;
/** The largest compression ratio of deflate. */
const deflateRatioMax = 1_032;
/** Messages of single items take several times the memory of packed ones. */
const singleItemFactor = 4;

/** For a batch of more chunks, one query is cheaper than reading each dedup record. */
const recordsReadMax = 25;

/** The sweep's ports on AWS: the raw bodies in S3, and their rows in the ledger. */
export function awsSweepPorts(options: AwsSweepOptions): SweepPorts {
  const { ledger, rawStore, queue, deadLetters, width } = options;
  const records = new DynamodbBatchRecords(ledger);
  const state = (batchId: BatchId) => stateOf(ledger, batchId);
  const bodies = new ByteLimiter(bodiesBytesMax);
  const cutting = new ByteLimiter(bodiesBytesMax);
  let sizes: ReadonlyMap<unknown, number> = new Map();
  return {
    async *keys(range) {
      for await (const page of rawStore.objects(range)) {
        sizes = new Map(page.map(({ rawKey, bytes }) => [rawKey, bytes]));
        yield page.map(({ rawKey }) => rawKey);
      }
    },
    raw: (rawKey) => rawStore.get(rawKey),
    async intakes(batchIds) {
      // Another program may have stored one batch under two raw keys.
      const keys = [...new Set(batchIds)].map((batchId) => keyItem(batchKey(batchId)));
      const attributes = 'id, chunks, replayed_at, queued_at';
      const rows = await batchGet({ ...recentReads(options), attributes }, keys);
      // The sweep reads the state of the batch itself and fails on an unreadable row there.
      const readable = rows.filter((row) => row['chunks']?.N !== undefined);
      return new Map(readable.map((row) => [batchIdOf(textOf(row, 'id')), intakeOf(row)]));
    },
    async counted(batches) {
      const few = [...batches].filter(([, { chunks }]) => chunks <= recordsReadMax);
      const many = [...batches].filter(([, { chunks }]) => chunks > recordsReadMax);
      const rowOf = await readDedupRows(recentReads(options), few.flatMap(dedupKeysOf));
      const counted = new Map(
        few.map((batch) => [batch[0], settledIn(rowOf, dedupKeysOf(batch))] as const),
      );
      const states = await inParallel(width, many, async ([batchId]) => state(batchId));
      for (const [at, [batchId]] of many.entries()) {
        counted.set(batchId, new Set(states[at]?.counted));
      }
      const isDone = ([batchId, { chunks }]: [BatchId, FinishedIntake]) =>
        areAllCounted(chunks, counted.get(batchId) ?? new Set());
      return new Set([...batches].filter(isDone).map(([batchId]) => batchId));
    },
    state,
    queueDepth: () => messagesIn(options.sqs, options.queueUrl),
    queue,
    deadLetters,
    async complete(raw, chunks, queuedAt) {
      await records.complete({ ...raw, chunks, queuedAt });
    },
    progress: dynamodbSweepProgress(ledger.client, ledger.ledgerTable),
    whileCutting: (raw, work) => cutting.hold(cuttingBytes(raw), work),
    async each(inputs, work) {
      await inParallel(width, inputs, (input) =>
        bodies.hold(sizes.get(input) ?? unlistedBytes, () => work(input)),
      );
    },
  };
}

/**
 * The approximate memory that the chunks of a body take. Gzip ends with the inflated length, which a
 * hostile client may understate: up to the largest body of a client, the possible length counts.
 */
function cuttingBytes({ body, encoding, itemsPerMessage }: CutBatch): number {
  const factor = Number.isFinite(itemsPerMessage) ? singleItemFactor : 1;
  if (encoding !== 'gzip' || body.length < 4) return factor * body.length;
  const possible = Math.min(unlistedBytes, deflateRatioMax * body.length);
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  return factor * Math.max(possible, bytes.readUInt32LE(body.length - 4));
}

/** Starts tasks in order, and limits the bytes that running tasks hold. */
class ByteLimiter {
  readonly #max: number;
  readonly #waiting: (() => void)[] = [];
  #held = 0;

  constructor(max: number) {
    this.#max = max;
  }

  async hold<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    const held = Math.min(bytes, this.#max);
    while (this.#held + held > this.#max) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#held += held;
    try {
      return await work();
    } finally {
      this.#held -= held;
      for (const wake of this.#waiting.splice(0)) wake();
    }
  }
}

/** Rows are read eventually consistently, at half the price; the sweep reads missing ones again. */
function recentReads({ ledger: { client, ledgerTable: table }, backoff, width }: AwsSweepOptions) {
  return { client, table, isConsistent: false, width, backoff };
}

async function stateOf(ledger: AwsSweepOptions['ledger'], batchId: BatchId): Promise<BatchState> {
  const { batch, countedItems, dropped, isDropped } = await readProgress(ledger, batchId);
  if (isDropped) return { intake: { chunks: 0 }, counted: new Set() };
  const intake = batch === undefined ? undefined : intakeOf(batch);
  return { intake, counted: new Set([...countedItems.keys(), ...dropped]) };
}

function intakeOf(row: Item): FinishedIntake {
  const chunks = numberOf(row, 'chunks');
  return {
    chunks,
    ...(row['replayed_at'] !== undefined && { replayedAt: numberOf(row, 'replayed_at') }),
    ...(row['queued_at'] !== undefined && { queuedAt: numberOf(row, 'queued_at') }),
  };
}

/** The keys, by the index of their chunks. */
function dedupKeysOf([batchId, { chunks }]: readonly [BatchId, FinishedIntake]): DedupKey[] {
  return Array.from({ length: chunks }, (_, index) => dedupKeyOf(batchId, index));
}

/** The indexes of the chunks that are counted or dropped. */
function settledIn(
  rowOf: (key: DedupKey) => Item | undefined,
  keys: readonly DedupKey[],
): ReadonlySet<number> {
  return new Set(
    [...keys.keys()].filter((at) => {
      const key = keys[at];
      return key !== undefined && dedupStateIn(rowOf(key), key) !== undefined;
    }),
  );
}
