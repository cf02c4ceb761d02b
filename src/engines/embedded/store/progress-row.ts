import type { DatabaseSync } from 'node:sqlite';

import type { LogPosition } from '../log/frame.ts';

/** The row of the table `progress`, which relates the database to the log. */
export interface ProgressRow {
  readonly logId: Uint8Array | undefined;
  /** The log is counted up to this position. */
  readonly position: LogPosition;
  /** Keys of records before this may have expired. */
  readonly keysExpiredThrough: LogPosition;
  /**
   * Keys received before this, in milliseconds since 1970, may also have expired; written by
   * earlier versions.
   */
  readonly keysExpiredBefore: number;
  /** `removed_counters` holds the increments of all records before this, whose segments may be removed. */
  readonly removedThrough: LogPosition;
}

/** Undefined if the row is missing. */
export function readProgressRow(database: DatabaseSync): ProgressRow | undefined {
  const row = database.prepare('SELECT * FROM progress').get();
  if (row === undefined) return undefined;
  return {
    logId: (row['log_id'] as Uint8Array | null) ?? undefined,
    position: Number(row['position']),
    keysExpiredThrough: Number(row['keys_expired_through']),
    keysExpiredBefore: Number(row['keys_expired_before']),
    removedThrough: Number(row['removed_through']),
  };
}

/** Whether the idempotency key of a record may have expired. */
export function mayKeyBeExpired(
  progress: Pick<ProgressRow, 'keysExpiredThrough' | 'keysExpiredBefore'> | undefined,
  { position, receivedAt }: { readonly position: LogPosition; readonly receivedAt: number },
): boolean {
  if (progress === undefined) return false;
  return position < progress.keysExpiredThrough || receivedAt < progress.keysExpiredBefore;
}

export interface RecordedDeadLetter {
  readonly position: LogPosition;
  readonly batchId: string;
  readonly reason: string;
  /** Milliseconds since 1970. */
  readonly firstFailedAt: number;
  readonly lastFailedAt: number;
  /** When an operator dropped it; milliseconds since 1970. */
  readonly droppedAt: number | undefined;
  /** The end of a damaged range of the log. */
  readonly damagedThrough: LogPosition | undefined;
}

/** All dead letters, by position. */
export function readDeadLetters(database: DatabaseSync): RecordedDeadLetter[] {
  const rows = database.prepare('SELECT * FROM dead_letters ORDER BY position').all();
  return rows.map((row) => ({
    position: Number(row['position']),
    batchId: String(row['batch_id']),
    reason: String(row['reason']),
    firstFailedAt: Number(row['first_failed_at']),
    lastFailedAt: Number(row['last_failed_at']),
    droppedAt: numberOrUndefined(row['dropped_at']),
    damagedThrough: numberOrUndefined(row['damaged_through']),
  }));
}

function numberOrUndefined(value: unknown): number | undefined {
  return value === null ? undefined : Number(value);
}
