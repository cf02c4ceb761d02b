import { readRawKey } from '../../../domain/batch-id.ts';
import type { RawBatch, RawStore } from '../../../pipeline/ports.ts';
import type { LogRecord } from './frame.ts';
import type { LogReader } from './log-reader.ts';
import { batchIdOf, findRecord, type FindSources } from './record-identity.ts';

/** The raw bodies as the log keeps them. */
export class LogRawStore implements RawStore {
  readonly #reader: LogReader;
  readonly #find: FindSources;

  constructor(reader: LogReader, placeOfReplayed: FindSources['placeOfReplayed']) {
    this.#reader = reader;
    this.#find = { recordAt: (position) => reader.recordAt(position), placeOfReplayed };
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
