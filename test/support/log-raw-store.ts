import { readRawKey } from '../../src/domain/batch-id.ts';
import type { RawBatch, RawStore } from '../../src/pipeline/ports.ts';
import type { LogRecord } from '../../src/engines/embedded/log/frame.ts';
import type { LogReader } from '../../src/engines/embedded/log/log-reader.ts';
import {
  batchIdOf,
  findRecord,
  type RecordLookup,
} from '../../src/engines/embedded/log/record-identity.ts';

/** The log as a raw store, for the suites that run on every engine. */
export class LogRawStore implements RawStore {
  readonly #reader: LogReader;
  readonly #find: RecordLookup;

  constructor(reader: LogReader, positionOfReplayed: RecordLookup['positionOfReplayed']) {
    this.#reader = reader;
    this.#find = { recordAt: (position) => reader.recordAt(position), positionOfReplayed };
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the port is asynchronous
  async get(rawKey: string): Promise<RawBatch | undefined> {
    const key = readRawKey(rawKey);
    const record = key && findRecord(this.#find, key.batchId);
    return record?.receivedAt === key?.receivedAt ? record && rawBatchOf(record) : undefined;
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the port is asynchronous
  async *list(range: { from?: number; to?: number } = {}): AsyncGenerator<RawBatch> {
    const { from = Number.NEGATIVE_INFINITY, to = Number.POSITIVE_INFINITY } = range;
    for (const { record } of this.#reader.records()) {
      if (record.receivedAt >= from && record.receivedAt < to) yield rawBatchOf(record);
    }
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
