import { formatBatchId, placeOfBatchId, readRawKey } from '../../domain/batch-id.ts';
import type { RawBatch, RawStore } from '../../pipeline/ports.ts';
import type { LogPosition, LogRecord } from './log-frame.ts';
import type { LogReader } from './log-reader.ts';

/** The raw bodies as the log keeps them. */
export class LogRawStore implements RawStore {
  readonly #reader: LogReader;

  constructor(reader: LogReader) {
    this.#reader = reader;
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the port is asynchronous
  async get(rawKey: string): Promise<RawBatch | undefined> {
    const key = readRawKey(rawKey);
    const record = key && findBatch(this.#reader, key.batchId);
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

/** The record of a batch: its id carries its place. */
export function findBatch(reader: LogReader, batchId: string): LogRecord | undefined {
  const place: LogPosition | undefined = placeOfBatchId(batchId);
  const record = place === undefined ? undefined : reader.recordAt(place);
  return record !== undefined && formatBatchId(record.batchId) === batchId ? record : undefined;
}

function rawBatchOf(record: LogRecord): RawBatch {
  const { batchId, receivedAt, encoding, accepted, rejected, excluded, body } = record;
  return {
    batchId: formatBatchId(batchId),
    receivedAt,
    encoding,
    accepted,
    rejected,
    ...(excluded !== undefined && { excluded }),
    body: Uint8Array.from(body),
  };
}
