import { statSync } from 'node:fs';

import type { BatchId } from '../../../domain/batch-id.ts';
import type { RawBatch } from '../../../pipeline/ports.ts';
import { dataPaths, readError } from '../data-directory.ts';
import { mayKeyBeExpired, readDeadLetters, readProgressRow } from './progress-row.ts';
import { nodeFileSystem } from '../log/file-system.ts';
import type { LogPosition } from '../log/frame.ts';
import { LogReader } from '../log/log-reader.ts';
import { listSegments, type LogIdentity } from '../log/segment.ts';
import { batchIdOf, findRecord, rawKeyOfRecord } from '../log/record-identity.ts';
import { findLog, lastRecordEnd, scanLog, type Damage, type LogLocation } from '../log/scan-log.ts';
import { openDatabaseReadOnly } from './read-only-database.ts';
import { checkVersion } from './schema.ts';

export type FoundBatch =
  | { readonly batch: StoredBody; readonly damage?: never }
  | { readonly batch?: never; readonly damage: Damage };

/** A raw batch with all that its record says. */
export interface StoredBody extends RawBatch {
  readonly rawKey: string;
  /** Where its record stands. */
  readonly position: LogPosition;
  readonly caller: string;
  readonly idempotencyKey: string | undefined;
  /** The log in which it was received, where that is this one. */
  readonly logId?: string;
}

/**
 * The raw batches of a data directory, beside its server too, in the order they were stored; and
 * the damage between them. A body is valid until the next batch is asked for.
 * @throws where there is no log.
 */
export function* rawBatches(
  dataDir: string,
  received: { readonly from: number; readonly to: number } | undefined,
): Generator<FoundBatch> {
  const { log: directory } = dataPaths(dataDir);
  const place = findLogOrThrow(directory);
  const { logId } = place;
  for (const found of scanLog({ ...place, from: 0, through: lastRecordEnd(place) })) {
    if (found.damage !== undefined) {
      // Segments that were removed by --keep-raw are no damage.
      if (found.damage.from > 0 || !found.damage.isFileMissing) yield { damage: found.damage };
      continue;
    }
    const { record } = found;
    const { receivedAt } = record;
    if (received !== undefined && (receivedAt < received.from || receivedAt >= received.to)) {
      continue;
    }
    const { position, caller, idempotency, encoding, accepted, rejected, excluded, body } = record;
    const batchId = batchIdOf(record);
    const rawKey = rawKeyOfRecord(record);
    const counts = { accepted, rejected, ...(excluded !== undefined && { excluded }) };
    yield {
      batch: {
        ...{ rawKey, batchId, receivedAt, encoding, ...counts, body },
        ...{ position, caller, idempotencyKey: idempotency?.key },
        ...(record.originId === undefined && { logId: logId.toString('hex') }),
      },
    };
  }
}

/** The day rule of a data directory. @throws where there is no log. */
export function dayZoneOf(dataDir: string): string {
  return findLogOrThrow(dataPaths(dataDir).log).dayZone;
}

/** Where the log of a data directory ends now. */
export function logEndOf(dataDir: string): LogPosition {
  const { log: directory } = dataPaths(dataDir);
  return lastRecordEnd(findLogOrThrow(directory));
}

interface ReplayGaps {
  /** So much of the log was removed by --keep-raw. */
  readonly removedBytes: number;
  /** Where records stand that are not counted. */
  readonly deadLetters: ReadonlySet<LogPosition>;
}

/**
 * What a replay of a data directory does not bring along.
 * @throws where there is no pipeline, or of another version.
 */
export function replayGaps(dataDir: string): ReplayGaps {
  const { database: path, log } = dataPaths(dataDir);
  const database = openDatabaseReadOnly(path);
  try {
    checkVersion(database, path);
    const deadLetters = new Set(readDeadLetters(database).map(({ position }) => position));
    return { removedBytes: listSegments(nodeFileSystem, log)[0]?.base ?? 0, deadLetters };
  } finally {
    database.close();
  }
}

export interface KeptKeys {
  /** Whether a retry with the key of the batch would be this batch still. */
  includes(batch: StoredBody): boolean;
  close(): void;
}

/**
 * Which idempotency keys a data directory remembers: one that has expired, or stands for a later batch
 * by now, must not come to life again elsewhere. All of them, where the database is gone.
 * @throws where the database cannot be read, or is of another version.
 */
export function keptKeys(dataDir: string): KeptKeys {
  const { database: path } = dataPaths(dataDir);
  if (statSync(path, { throwIfNoEntry: false }) === undefined) {
    return { includes: (batch) => batch.idempotencyKey !== undefined, close: () => undefined };
  }
  const database = openDatabaseReadOnly(path);
  try {
    checkVersion(database, path);
    const holder = database.prepare(
      'SELECT batch_id FROM idempotency_keys WHERE caller = ? AND key = ?',
    );
    return {
      includes(batch) {
        if (batch.idempotencyKey === undefined) return false;
        const ledger = readProgressRow(database);
        // Its key is in the database once it is counted.
        if (batch.position >= (ledger?.position ?? 0)) return true;
        const row = holder.get(batch.caller, batch.idempotencyKey);
        return row === undefined
          ? !mayKeyBeExpired(ledger, batch)
          : row['batch_id'] === batch.batchId;
      },
      close: () => database.close(),
    };
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * The body of one batch, or undefined where the directory does not have it.
 * @throws where there is no log.
 */
export function findStoredBody(dataDir: string, batchId: BatchId): Uint8Array | undefined {
  const { log: directory } = dataPaths(dataDir);
  const place = findLogOrThrow(directory);
  const reader = new LogReader(nodeFileSystem, directory);
  try {
    const recordAt = (position: LogPosition) => reader.recordAt(position);
    const positionOfReplayed = () => positionInLog(place, batchId);
    return findRecord({ recordAt, positionOfReplayed }, batchId)?.body;
  } finally {
    reader.close();
  }
}

/** Where a batch from another installation stands. Reads the log: the database may be missing. */
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
