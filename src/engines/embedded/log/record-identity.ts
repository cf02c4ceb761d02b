import {
  formatBatchId,
  positionOfBatchId,
  rawKeyOf,
  type BatchId,
} from '../../../domain/batch-id.ts';
import type { LogPosition, LogRecord } from './frame.ts';

/**
 * The id by which the world knows the batch of a record: the one made here, or, of a batch that
 * came from another installation, the one that it has had since it was received.
 */
export function batchIdOf({ batchId, originId }: Pick<LogRecord, 'batchId' | 'originId'>): BatchId {
  return originId ?? formatBatchId(batchId);
}

export function rawKeyOfRecord(record: LogRecord): string {
  return rawKeyOf(batchIdOf(record), record.receivedAt);
}

/** Finds the record of a batch, wherever it stands. */
export interface FindSources {
  readonly recordAt: (position: LogPosition) => LogRecord | undefined;
  /** Where a batch that came from another installation stands. */
  readonly placeOfReplayed: (batchId: BatchId) => LogPosition | undefined;
}

/** The record of a batch: an id made here carries its place, others are looked up. */
export function findRecord(
  { recordAt, placeOfReplayed }: FindSources,
  batchId: BatchId,
): LogRecord | undefined {
  const isOurs = (record: LogRecord | undefined) =>
    record !== undefined && batchIdOf(record) === batchId;
  const ownPlace = positionOfBatchId(batchId);
  const own = ownPlace === undefined ? undefined : recordAt(ownPlace);
  if (isOurs(own)) return own;
  const place = placeOfReplayed(batchId);
  const replayed = place === undefined ? undefined : recordAt(place);
  return isOurs(replayed) ? replayed : undefined;
}
