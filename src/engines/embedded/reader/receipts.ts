import type { Receipt, Receipts } from '../../../pipeline/ports.ts';
import { frameLength, type LogPosition } from '../log/frame.ts';
import { findRecord, rawKeyOfRecord, type RecordLookup } from '../log/record-identity.ts';

/**
 * Receipts need no storage of their own: the batch id (or, for a replayed batch, its row) leads to the
 * record, whose position tells whether it is counted.
 */
export class LogReceipts implements Receipts {
  readonly #find: RecordLookup;
  readonly #countedThrough: () => LogPosition;
  readonly #isDeadLetter: (position: LogPosition) => boolean;

  constructor(
    find: RecordLookup,
    countedThrough: () => LogPosition,
    isDeadLetter: (position: LogPosition) => boolean,
  ) {
    this.#find = find;
    this.#countedThrough = countedThrough;
    this.#isDeadLetter = isDeadLetter;
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the port is asynchronous
  async find(batchId: string): Promise<Receipt | undefined> {
    const record = findRecord(this.#find, batchId);
    if (record === undefined) return undefined;
    const { position, receivedAt, accepted, rejected } = record;
    const isPast = position + frameLength(record) <= this.#countedThrough();
    const isCounted = isPast && !this.#isDeadLetter(position);
    return {
      status: isCounted ? 'counted' : 'pending',
      rawKey: rawKeyOfRecord(record),
      enqueued: accepted,
      counted: isCounted ? accepted : 0,
      rejected,
      receivedAt,
    };
  }
}
