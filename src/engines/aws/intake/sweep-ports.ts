import type { SQSClient } from '@aws-sdk/client-sqs';

import type { BatchId } from '../../../domain/batch-id.ts';
import { areAllCounted, type CutBatch } from '../../../pipeline/chunks/recut.ts';
import type { ChunkQueue, DeadLetterSink } from '../../../pipeline/ports.ts';
import type { BatchState, FinishedIntake, SweepPorts } from '../../../pipeline/sweep/ports.ts';
import type { Backoff } from '../../../util/backoff.ts';
import { batchGet } from '../ledger/batch-get.ts';
import { DynamodbBatchRecords } from '../ledger/batch-records.ts';
import { readProgress, type LedgerReaderOptions } from '../ledger/receipts.ts';
import { dynamodbSweepProgress } from '../ledger/sweep-progress.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import {
  batchIdOf,
  batchKey,
  chunkIndexOf,
  chunkKey,
  keyItem,
  numberOf,
  textOf,
  type Item,
} from '../ledger/ledger-table.ts';
import { messagesIn } from '../queue/queue-depth.ts';
import type { S3RawStore } from './raw-store.ts';

export interface AwsSweepOptions {
  readonly ledger: Omit<LedgerReaderOptions, 'now'>;
  readonly rawStore: S3RawStore;
  readonly queue: ChunkQueue;
  /** Of the queue, for how much waits there. */
  readonly sqs: Pick<SQSClient, 'send'>;
  readonly queueUrl: string;
  readonly deadLetters: DeadLetterSink;
  /** Between tries of what DynamoDB left out. */
  readonly backoff: Backoff;
  /** How many batches, or requests for the rows of 100, are worked on at the same time. */
  readonly width: number;
}

/** Bounds the stored bodies held in memory at the same time, and the inflated ones that are cut. */
const bodiesBytesMax = 64 * 1024 * 1024;
/** The largest body that clients may send. Assumed for a body that the current listing does not have. */
const unlistedBytes = 4 * 1024 * 1024;
/** Deflate makes a body at most so many times smaller. */
const deflateRatioMax = 1_032;
/** Messages of single items take several times the memory of packed ones. */
const singleItemFactor = 4;

/** The marks of batches of more chunks are read by a query each, which is cheaper then. */
const markedChunksMax = 25;

/** What a sweep works on: the raw bodies in S3, and what the ledger says of them. */
export function awsSweepPorts(options: AwsSweepOptions): SweepPorts {
  const { ledger, rawStore, queue, deadLetters, width } = options;
  const records = new DynamodbBatchRecords(ledger);
  const state = (batchId: BatchId) => stateOf(ledger, batchId);
  const room = new ByteRoom(bodiesBytesMax);
  const cuttingRoom = new ByteRoom(bodiesBytesMax);
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
      // Two raw keys of one batch are a mistake of others, and no reason to look at nothing.
      const keys = [...new Set(batchIds)].map((batchId) => keyItem(batchKey(batchId)));
      const rows = await glance(options, keys, 'id, chunks, replayed_at, queued_at');
      // A row that cannot be read is met again where its batch is looked after by itself.
      const readable = rows.filter((row) => row['chunks']?.N !== undefined);
      return new Map(readable.map((row) => [batchIdOf(textOf(row, 'id')), intakeOf(row)]));
    },
    async counted(batches) {
      const few = [...batches].filter(([, { chunks }]) => chunks <= markedChunksMax);
      const many = [...batches].filter(([, { chunks }]) => chunks > markedChunksMax);
      const marks = await glance(options, few.flatMap(marksOf), 'id, entry');
      const counted = new Map<BatchId, Set<number>>(few.map(([batchId]) => [batchId, new Set()]));
      for (const mark of marks) {
        const index = chunkIndexOf(textOf(mark, 'entry'));
        if (index !== undefined) counted.get(batchIdOf(textOf(mark, 'id')))?.add(index);
      }
      const asked = await inParallel(width, many, async ([batchId]) => state(batchId));
      for (const [at, [batchId]] of many.entries()) {
        counted.set(batchId, new Set(asked[at]?.counted));
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
    whileCutting: (raw, work) => cuttingRoom.hold(cuttingBytes(raw), work),
    async each(inputs, work) {
      await inParallel(width, inputs, (input) =>
        room.hold(sizes.get(input) ?? unlistedBytes, () => work(input)),
      );
    },
  };
}

/**
 * About how much memory the chunks of a body take. Gzip ends with the inflated length, which a hostile
 * client may understate: up to the largest body of a client the possible length counts.
 */
function cuttingBytes({ body, encoding, itemsPerMessage }: CutBatch): number {
  const factor = Number.isFinite(itemsPerMessage) ? singleItemFactor : 1;
  if (encoding !== 'gzip' || body.length < 4) return factor * body.length;
  const possible = Math.min(unlistedBytes, deflateRatioMax * body.length);
  const stated = Buffer.from(body.buffer, body.byteOffset, body.length).readUInt32LE(
    body.length - 4,
  );
  return factor * Math.max(possible, stated);
}

/** Lets work begin in its order, as far as there is room for what it holds. */
class ByteRoom {
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

/** Rows as they were some moments ago, at half the price: what seems to be missing is asked for again. */
function glance(
  { ledger: { client, ledgerTable: table }, backoff, width }: AwsSweepOptions,
  keys: readonly Item[],
  attributes: string,
): Promise<Item[]> {
  return batchGet({ client, table, isConsistent: false, attributes, width, backoff }, keys);
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

function marksOf([batchId, { chunks }]: [BatchId, FinishedIntake]): Item[] {
  return Array.from({ length: chunks }, (_, index) => keyItem(chunkKey(batchId, index)));
}
