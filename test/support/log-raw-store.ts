import { readRawKey } from '../../src/domain/batch-id.ts';
import type { RawBatch } from '../../src/pipeline/ports.ts';
import type { LogRecord } from '../../src/engines/embedded/log/frame.ts';
import type { LogReader } from '../../src/engines/embedded/log/log-reader.ts';
import {
  batchIdOf,
  findRecord,
  type RecordLookup,
} from '../../src/engines/embedded/log/record-identity.ts';

/** The log as a raw store, for the suites that run on every engine. */
export class LogRawStore {
  readonly #reader: LogReader;
  readonly #find: RecordLookup;

  constructor(reader: LogReader, positionOfReplayed: RecordLookup['positionOfReplayed']) {
    this.#reader = reader;
    this.#find = { recordAt: (position) => reader.recordAt(position), positionOfReplayed };
  }

  // oxlint-disable-next-line typescript/require-await -- as a bucket is
  async get(rawKey: string): Promise<RawBatch | undefined> {
    const key = readRawKey(rawKey);
    const record = key && findRecord(this.#find, key.batchId);
    return record?.receivedAt === key?.receivedAt ? record && rawBatchOf(record) : undefined;
  }

  list(range: { from?: number; to?: number } = {}): RawBatch[] {
    const { from = Number.NEGATIVE_INFINITY, to = Number.POSITIVE_INFINITY } = range;
    const found: RawBatch[] = [];
    for (const { record } of this.#reader.records()) {
      if (record.receivedAt >= from && record.receivedAt < to) found.push(rawBatchOf(record));
    }
    return found;
  }
}

function rawBatchOf(record: LogRecord): RawBatch {
  const { receivedAt, encoding, accepted, rejected, excluded, body } = record;
  return {
    batchId: batchIdOf(record),
    receivedAt,
    encoding,
    accepted,
    rejected,
    ...(excluded !== undefined && { excluded }),
    body: Uint8Array.from(body),
  };
}
