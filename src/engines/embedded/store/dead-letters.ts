import type { DatabaseSync } from 'node:sqlite';

import type { BatchId } from '../../../domain/batch-id.ts';
import { rowsOfIncrements, type Increments } from '../../../domain/counter.ts';
import { dayRule, type DayOf } from '../../../domain/day.ts';
import type { ContentEncoding } from '../../../pipeline/ports.ts';
import { recount } from '../../../pipeline/recount.ts';
import { dataPaths } from '../data-directory.ts';
import { nodeFileSystem } from '../log/file-system.ts';
import { readDeadLetters, readProgressRow, type RecordedDeadLetter } from './progress-row.ts';
import type { LogPosition } from '../log/frame.ts';
import { LogReader } from '../log/log-reader.ts';
import { findLog, scanLog } from '../log/scan-log.ts';
import { dayZoneOf } from './raw-batches.ts';
import { batchIdOf, rawKeyOfRecord } from '../log/record-identity.ts';
import { counterAdder } from './counter-store.ts';
import { openCurrentReadOnly } from './read-only-database.ts';
import { hasTable, inTransaction, openDatabaseForChange } from './schema.ts';

export interface StoredDeadLetter extends RecordedDeadLetter {
  /** Undefined if the raw body is damaged or missing. */
  readonly rawKey: string | undefined;
  /** The number of accepted items. */
  readonly items: number | undefined;
  /** The raw body. */
  readonly body: Uint8Array | undefined;
  readonly encoding: ContentEncoding;
}

/** The dead letters, in the order of their receipt. @throws if there is no pipeline. */
export function listDeadLetters(dataDir: string): StoredDeadLetter[] {
  const database = openCurrentReadOnly(dataPaths(dataDir).database);
  try {
    using reader = logReader(dataDir);
    return readDeadLetters(database).map((deadLetter) => {
      const record = recordOf(reader, deadLetter);
      const rawKey = record && rawKeyOfRecord(record);
      const { accepted: items, body, encoding = 'identity' } = record ?? {};
      return { ...deadLetter, rawKey, items, body, encoding };
    });
  } finally {
    database.close();
  }
}

interface RedriveResult {
  readonly counted: number;
  /** Dead letters that still cannot be counted, with their new reasons. */
  readonly failed: readonly FailedRedrive[];
}

interface FailedRedrive {
  /** Empty if the stored bytes are damaged. */
  readonly batchId: string;
  readonly reason: string;
  /** The damaged bytes have been restored; only a rebuild can count them, with their keys. */
  readonly isRestored: boolean;
}

const restored = 'its raw body can be read again: run rebuild, which counts it';

/**
 * Redrives the chosen dead letters, also while a server runs. One transaction counts a dead letter and
 * deletes it, so that a redrive may be interrupted and repeated. Dropped ones stay dropped.
 */
export function redriveDeadLetters(
  dataDir: string,
  isChosen: (deadLetter: RecordedDeadLetter) => boolean,
  now: number,
): RedriveResult {
  let counted = 0;
  const failed: FailedRedrive[] = [];
  let dayOf: DayOf | undefined;
  changeSelected(dataDir, isChosen, (database, reader, deadLetter) => {
    const batchId = restoredBatch(dataDir, deadLetter);
    if (batchId !== undefined) {
      failed.push({ batchId, reason: restored, isRestored: true });
      return;
    }
    dayOf ??= dayRule(dayZoneOf(dataDir));
    const record = recordOf(reader, deadLetter);
    const result = record === undefined ? { reason: deadLetter.reason } : recount(record, dayOf);
    if (result.reason === undefined) {
      add(database, result.increments, deadLetter.position);
      deleteFrom(database, 'dead_letters', deadLetter.position);
      counted++;
    } else {
      database
        .prepare('UPDATE dead_letters SET reason = ?, last_failed_at = ? WHERE position = ?')
        .run(result.reason, now, deadLetter.position);
      failed.push({ batchId: deadLetter.batchId, reason: result.reason, isRestored: false });
    }
  });
  return { counted, failed };
}

/** Drops the chosen dead letters: they are never counted, but stay listed. Returns their number. */
export function dropDeadLetters(
  dataDir: string,
  isChosen: (deadLetter: RecordedDeadLetter) => boolean,
  now: number,
): number {
  let dropped = 0;
  changeSelected(dataDir, isChosen, (database, _reader, { position }) => {
    database
      .prepare('UPDATE dead_letters SET dropped_at = ? WHERE position = ?')
      .run(now, position);
    dropped++;
  });
  return dropped;
}

/** Calls `act` for each chosen dead letter that exists and is not dropped, in a transaction each. */
function changeSelected(
  dataDir: string,
  isChosen: (deadLetter: RecordedDeadLetter) => boolean,
  act: (database: DatabaseSync, reader: LogReader, deadLetter: RecordedDeadLetter) => void,
): void {
  const database = openDatabaseForChange(dataPaths(dataDir).database);
  try {
    using reader = logReader(dataDir);
    const find = database.prepare(
      'SELECT 1 FROM dead_letters WHERE position = ? AND dropped_at IS NULL',
    );
    for (const deadLetter of readDeadLetters(database).filter(isChosen)) {
      inTransaction(database, () => {
        if (find.get(deadLetter.position) !== undefined) act(database, reader, deadLetter);
      });
    }
  } finally {
    database.close();
  }
}

function add(database: DatabaseSync, increments: Increments, position: LogPosition): void {
  // The increments of its segment were recorded without this dead letter.
  const isRecorded = position < (readProgressRow(database)?.removedThrough ?? 0);
  // So was the count of an unfinished rebuild that lists this dead letter.
  const isInNext =
    hasTable(database, 'dead_letters_next') &&
    deleteFrom(database, 'dead_letters_next', position) > 0;
  const tables = ['counters', isRecorded && 'removed_counters', isInNext && 'counters_next'];
  for (const table of tables) {
    if (table !== false) counterAdder(database, table)(rowsOfIncrements(increments));
  }
}

/** Returns the number of deleted rows. */
function deleteFrom(database: DatabaseSync, table: string, position: LogPosition): number {
  return Number(database.prepare(`DELETE FROM ${table} WHERE position = ?`).run(position).changes);
}

function recordOf(reader: LogReader, { position, damagedThrough }: RecordedDeadLetter) {
  return damagedThrough === undefined ? reader.recordAt(position) : undefined;
}

/** The id of the first batch in a formerly damaged range, if all of the range is valid now. */
function restoredBatch(
  dataDir: string,
  { position, damagedThrough }: RecordedDeadLetter,
): BatchId | undefined {
  if (damagedThrough === undefined) return undefined;
  const place = findLog(nodeFileSystem, dataPaths(dataDir).log);
  if (place === undefined) return undefined;
  let first: BatchId | undefined;
  for (const found of scanLog({ ...place, from: position, through: damagedThrough })) {
    if (found.damage !== undefined || found.end > damagedThrough) return undefined;
    first ??= batchIdOf(found.record);
  }
  return first;
}

function logReader(dataDir: string): LogReader {
  return new LogReader(nodeFileSystem, dataPaths(dataDir).log);
}
