import { statSync } from 'node:fs';

import type { BatchId } from '../../../domain/batch-id.ts';
import type { RawBatch } from '../../../pipeline/ports.ts';
import { isWithin, type ReceivedRange } from '../../../pipeline/store-admin.ts';
import { dataPaths, readError } from '../data-directory.ts';
import { mayKeyBeExpired, readDeadLetters, readProgressRow } from './progress-row.ts';
import { nodeFileSystem } from '../log/file-system.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import { LogReader } from '../log/log-reader.ts';
import { listSegments, type LogIdentity } from '../log/segment.ts';
import { batchIdOf, findRecord, rawKeyOfRecord } from '../log/record-identity.ts';
import { findLog, lastRecordEnd, scanLog, type Damage, type LogLocation } from '../log/scan-log.ts';
import { openCurrentReadOnly } from './read-only-database.ts';

type FoundBatch =
  | { readonly batch: StoredBody; readonly damage?: never }
  | { readonly batch?: never; readonly damage: Damage };

/** A raw batch with all fields of its record. */
export interface StoredBody extends RawBatch {
  readonly rawKey: string;
  /** The position of its record. */
  readonly position: LogPosition;
  readonly caller: string;
  readonly idempotencyKey: string | undefined;
  /** The id of this log, unless the batch was received by another installation. */
  readonly logId?: string;
}

/**
 * Yields the raw batches of a data directory in the order of their storage, and the damaged ranges
 * between them; also while a server runs. Each body is valid until the next entry is requested.
 * @throws if there is no log.
 */
export function* rawBatches(
  dataDir: string,
  received: ReceivedRange | undefined,
): Generator<FoundBatch> {
  const { log: directory } = dataPaths(dataDir);
  const place = findLogOrThrow(directory);
  const { logId } = place;
  for (const found of scanLog({ ...place, from: 0, through: lastRecordEnd(place) })) {
    if (found.damage !== undefined) {
      // Segments that --keep-raw removed are not damage.
      if (found.damage.from > 0 || !found.damage.isFileMissing) yield { damage: found.damage };
      continue;
    }
    const { record } = found;
    if (!isWithin(record.receivedAt, received)) continue;
    yield { batch: storedBodyOf(record, logId.toString('hex')) };
  }
}

/** @param logId the id of the record's log, in hexadecimal. */
export function storedBodyOf(record: LogRecord, logId: string): StoredBody {
  const { receivedAt, position, caller, idempotency, encoding, excluded, body } = record;
  const { accepted, rejected } = record;
  const batchId = batchIdOf(record);
  const rawKey = rawKeyOfRecord(record);
  const counts = { accepted, rejected, ...(excluded !== undefined && { excluded }) };
  return {
    ...{ rawKey, batchId, receivedAt, encoding, ...counts, body },
    ...{ position, caller, idempotencyKey: idempotency?.key },
    ...(record.originId === undefined && { logId }),
  };
}

/** The day rule of a data directory. @throws if there is no log. */
export function dayZoneOf(dataDir: string): string {
  return findLogOrThrow(dataPaths(dataDir).log).dayZone;
}

/** The current end of a data directory's log. @throws if there is no log. */
export function logEndOf(dataDir: string): LogPosition {
  const { log: directory } = dataPaths(dataDir);
  return lastRecordEnd(findLogOrThrow(directory));
}

interface ReplayGaps {
  /** Bytes of the log that --keep-raw has removed. */
  readonly removedBytes: number;
  /** Positions of dead letters. */
  readonly deadLetters: ReadonlySet<LogPosition>;
}

/**
 * The batches of a data directory that a replay cannot transfer.
 * @throws if there is no pipeline, or one of another version.
 */
export function replayGaps(dataDir: string): ReplayGaps {
  const { database: path, log } = dataPaths(dataDir);
  const database = openCurrentReadOnly(path);
  try {
    const deadLetters = new Set(readDeadLetters(database).map(({ position }) => position));
    return { removedBytes: listSegments(nodeFileSystem, log)[0]?.base ?? 0, deadLetters };
  } finally {
    database.close();
  }
}

export interface KeptKeys {
  /** Whether a retry with the batch's key still counts as this batch. */
  includes(batch: StoredBody): boolean;
  close(): void;
}

/**
 * The idempotency keys that a data directory keeps: a replay must not revive one that has expired or
 * that a later batch has taken over. If the database is missing, all keys count as kept.
 * @throws if the database cannot be read, or is of another version.
 */
export function keptKeys(dataDir: string): KeptKeys {
  const { database: path } = dataPaths(dataDir);
  if (statSync(path, { throwIfNoEntry: false }) === undefined) {
    return { includes: (batch) => batch.idempotencyKey !== undefined, close: () => undefined };
  }
  const database = openCurrentReadOnly(path);
  const holder = database.prepare(
    'SELECT batch_id FROM idempotency_keys WHERE caller = ? AND key = ?',
  );
  return {
    includes(batch) {
      if (batch.idempotencyKey === undefined) return false;
      const progress = readProgressRow(database);
      // Its key is written to the database when it is counted.
      if (batch.position >= (progress?.position ?? 0)) return true;
      const row = holder.get(batch.caller, batch.idempotencyKey);
      return row === undefined
        ? !mayKeyBeExpired(progress, batch)
        : row['batch_id'] === batch.batchId;
    },
    close: () => database.close(),
  };
}

/**
 * The raw body of a batch; undefined if the directory does not have it.
 * @throws if there is no log.
 */
export function findStoredBody(dataDir: string, batchId: BatchId): Uint8Array | undefined {
  const { log: directory } = dataPaths(dataDir);
  const place = findLogOrThrow(directory);
  using reader = new LogReader(nodeFileSystem, directory);
  const recordAt = (position: LogPosition) => reader.recordAt(position);
  const positionOfReplayed = () => positionInLog(place, batchId);
  return findRecord({ recordAt, positionOfReplayed }, batchId)?.body;
}

/** The position of a replayed batch. Searches the log, since the database may be missing. */
function positionInLog(place: LogLocation, batchId: BatchId): LogPosition | undefined {
  for (const found of scanLog({ ...place, from: 0, through: lastRecordEnd(place) })) {
    if (found.damage === undefined && found.record.originId === batchId) {
      return found.record.position;
    }
  }
  return undefined;
}

function findLogOrThrow(directory: string): LogLocation & LogIdentity {
  const absent = `There is no log in ${directory}. Start one with serve, or name its --data-dir.`;
  let log: (LogLocation & LogIdentity) | undefined;
  try {
    log = findLog(nodeFileSystem, directory);
  } catch (error) {
    throw readError(directory, error, absent);
  }
  if (log !== undefined) return log;
  throw new Error(absent);
}
