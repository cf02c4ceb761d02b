import type { ChunkQueue, Parking } from '../../pipeline/ports.ts';
import type { SweepPorts } from '../../pipeline/sweep.ts';
import { DynamodbBatchRecords } from './dynamodb-batch-records.ts';
import { readProgress, type LedgerReaderOptions } from './dynamodb-receipts.ts';
import { dynamodbSweepProgress } from './dynamodb-sweep-progress.ts';
import { inParallel } from './in-parallel.ts';
import { numberOf } from './ledger-table.ts';
import type { S3RawStore } from './s3-raw-store.ts';

export interface AwsSweepOptions {
  readonly ledger: Omit<LedgerReaderOptions, 'now'>;
  readonly rawStore: S3RawStore;
  readonly queue: ChunkQueue;
  readonly parking: Parking;
  /** How many batches are looked at at the same time. */
  readonly width: number;
}

/** What a sweep works on: the raw bodies in S3, and what the ledger says of them. */
export function awsSweepPorts(options: AwsSweepOptions): SweepPorts {
  const { ledger, rawStore, queue, parking, width } = options;
  const records = new DynamodbBatchRecords(ledger);
  return {
    keys: (range) => rawStore.keys(range),
    raw: (rawKey) => rawStore.get(rawKey),
    async state(batchId) {
      const { batch, countedItems, dropped, isDropped } = await readProgress(ledger, batchId);
      if (isDropped) return { chunks: 0, counted: new Set() };
      const chunks = batch === undefined ? undefined : numberOf(batch, 'chunks');
      return { chunks, counted: new Set([...countedItems.keys(), ...dropped]) };
    },
    queue,
    parking,
    async complete(raw, chunks) {
      await records.complete({ ...raw, chunks });
    },
    progress: dynamodbSweepProgress(ledger.client, ledger.ledgerTable),
    async each(inputs, work) {
      await inParallel(width, inputs, work);
    },
  };
}
