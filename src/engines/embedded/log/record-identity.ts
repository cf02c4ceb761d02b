import {
  formatBatchId,
  positionOfBatchId,
  rawKeyOf,
  timeOfBatchId,
  type BatchId,
} from '../../../domain/batch-id.ts';
import type { LogPosition, LogRecord } from './frame.ts';

/**
 * The batch id of a record: the one assigned here, or, of a replayed batch, the one that the
 * original installation assigned.
 */
export function batchIdOf({ batchId, originId }: Pick<LogRecord, 'batchId' | 'originId'>): BatchId {
  return originId ?? formatBatchId(batchId);
}

export function rawKeyOfRecord(record: LogRecord): string {
  return rawKeyOf(batchIdOf(record), record.receivedAt);
}

/** The lookups that `findRecord` needs. */
export interface RecordLookup {
  readonly recordAt: (position: LogPosition) => LogRecord | undefined;
  /** The position of a replayed batch. */
  readonly positionOfReplayed: (batchId: BatchId) => LogPosition | undefined;
}

/** The record of a batch. An id assigned here contains the position; others are looked up. */
export function findRecord(
  { recordAt, positionOfReplayed }: RecordLookup,
  batchId: BatchId,
): LogRecord | undefined {
  const isOurs = (record: LogRecord | undefined) =>
    record !== undefined && batchIdOf(record) === batchId;
  const ownPosition = positionOfBatchId(batchId);
  const own = ownPosition === undefined ? undefined : recordAt(ownPosition);
  if (isOurs(own)) return own;
  const replayedPosition = positionOfReplayed(batchId);
  const replayed = replayedPosition === undefined ? undefined : recordAt(replayedPosition);
  return isOurs(replayed) ? replayed : undefined;
}

/**
 * The position at which a log assigned the id; undefined for an id of another kind. Some ids of the AWS
 * engine have the time of receipt in its place.
 */
export function assignedPosition({
  batchId,
  receivedAt,
}: {
  readonly batchId: BatchId;
  readonly receivedAt: number;
}): LogPosition | undefined {
  return timeOfBatchId(batchId) === receivedAt ? undefined : positionOfBatchId(batchId);
}
