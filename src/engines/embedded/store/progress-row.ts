import type { DatabaseSync } from 'node:sqlite';

import type { LogPosition } from '../log/frame.ts';

/** What the database says of the log: the row of `progress`. */
export interface ProgressRow {
  readonly logId: Uint8Array | undefined;
  /** Through which byte the log is counted. */
  readonly position: LogPosition;
  /** Keys of records before this may be gone. */
  readonly keysExpiredThrough: LogPosition;
  /** The same by when they were received, in milliseconds since 1970, of earlier versions. */
  readonly keysExpiredBefore: number;
  /** What records before this counted is noted apart, since their segments may be gone. */
  readonly removedThrough: LogPosition;
}

/** Undefined where the row is missing. */
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

/** Whether the idempotency key of a record may be gone, since it has expired. */
export function mayKeyBeExpired(
  ledger: Pick<ProgressRow, 'keysExpiredThrough' | 'keysExpiredBefore'> | undefined,
  { position, receivedAt }: { readonly position: LogPosition; readonly receivedAt: number },
): boolean {
  if (ledger === undefined) return false;
  return position < ledger.keysExpiredThrough || receivedAt < ledger.keysExpiredBefore;
}

export interface RecordedDeadLetter {
  readonly position: LogPosition;
  readonly batchId: string;
  readonly reason: string;
  /** Milliseconds since 1970. */
  readonly firstFailedAt: number;
  readonly lastFailedAt: number;
  /** When somebody decided that it is never counted. */
  readonly droppedAt: number | undefined;
  /** The end of the damage, where nothing sound stands in the log. */
  readonly damagedThrough: LogPosition | undefined;
}

/** By position. */
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
