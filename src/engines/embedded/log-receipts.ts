import { formatBatchId, rawKeyOf } from '../../domain/batch-id.ts';
import type { Receipt, Receipts } from '../../pipeline/ports.ts';
import { frameLength, type LogPosition } from './log-frame.ts';
import type { LogReader } from './log-reader.ts';
import { findBatch } from './log-raw-store.ts';

/** Receipts cost no row: the batch id leads to the record, the position tells if it is counted. */
export class LogReceipts implements Receipts {
  readonly #reader: LogReader;
  readonly #countedThrough: () => LogPosition;
  readonly #isDeadLetter: (position: LogPosition) => boolean;

  constructor(
    reader: LogReader,
    countedThrough: () => LogPosition,
    isDeadLetter: (position: LogPosition) => boolean,
  ) {
    this.#reader = reader;
    this.#countedThrough = countedThrough;
    this.#isDeadLetter = isDeadLetter;
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the port is asynchronous
  async find(batchId: string): Promise<Receipt | undefined> {
    const record = findBatch(this.#reader, batchId);
    if (record === undefined) return undefined;
    const { position, receivedAt, accepted, rejected } = record;
    const isPast = position + frameLength(record) <= this.#countedThrough();
    const isCounted = isPast && !this.#isDeadLetter(position);
    return {
      status: isCounted ? 'counted' : 'pending',
      rawKey: rawKeyOf(formatBatchId(record.batchId), receivedAt),
      enqueued: accepted,
      counted: isCounted ? accepted : 0,
      rejected,
      receivedAt,
    };
  }
}
