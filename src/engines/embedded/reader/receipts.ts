import type { Receipt } from '../../../pipeline/ports.ts';
import { frameLength, type LogPosition } from '../log/frame.ts';
import { findRecord, rawKeyOfRecord, type RecordLookup } from '../log/record-identity.ts';

/** The progress of counting, as receipts need it. */
interface CountedLog {
  /** The log is counted up to this position. */
  countedThrough(): LogPosition;
  /** Whether the record at a position is a dead letter. */
  isDeadLetter(position: LogPosition): boolean;
}

/**
 * Receipts need no storage of their own: the batch id (or, for a replayed batch, its row) leads to
 * the record, and its position shows whether it is counted.
 */
export function findReceipt(
  lookup: RecordLookup,
  log: CountedLog,
  batchId: string,
): Receipt | undefined {
  const record = findRecord(lookup, batchId);
  if (record === undefined) return undefined;
  const { position, receivedAt, accepted, rejected } = record;
  const isPast = position + frameLength(record) <= log.countedThrough();
  const isCounted = isPast && !log.isDeadLetter(position);
  return {
    status: isCounted ? 'counted' : 'pending',
    rawKey: rawKeyOfRecord(record),
    enqueued: accepted,
    counted: isCounted ? accepted : 0,
    rejected,
    receivedAt,
  };
}
