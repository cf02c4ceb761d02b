import type { DatabaseSync } from 'node:sqlite';

import type { BatchId } from '../../../domain/batch-id.ts';
import { rowsOfIncrements, typeStateKey, type Increments } from '../../../domain/counter.ts';
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
import { addToCounters } from './counter-store.ts';
import { openDatabaseReadOnly } from './read-only-database.ts';
import { checkVersion, hasTable, inTransaction, openDatabaseForChange } from './schema.ts';

export interface StoredDeadLetter extends RecordedDeadLetter {
  /** Undefined where the raw body is damaged or gone. */
  readonly rawKey: string | undefined;
  /** How many items were accepted when it came. */
  readonly items: number | undefined;
  /** The body as it came, of which nothing can be counted. */
  readonly body: Uint8Array | undefined;
  readonly encoding: ContentEncoding;
}

/** The batches that are not counted, in the order they came. @throws where there is no pipeline. */
export function listDeadLetters(dataDir: string): StoredDeadLetter[] {
  const paths = dataPaths(dataDir);
  const database = openDatabaseReadOnly(paths.database);
  try {
    checkVersion(database, paths.database);
    return withReader(dataDir, (reader) =>
      readDeadLetters(database).map((letter) => {
        const record = recordOf(reader, letter);
        const rawKey = record && rawKeyOfRecord(record);
        const { accepted: items, body, encoding = 'identity' } = record ?? {};
        return { ...letter, rawKey, items, body, encoding };
      }),
    );
  } finally {
    database.close();
  }
}

interface RedriveResult {
  readonly counted: number;
  /** Those that cannot be counted still, with the reason they have now. */
  readonly failed: readonly FailedRedrive[];
}

interface FailedRedrive {
  /** Empty where what was stored there is damaged. */
  readonly batchId: string;
  readonly reason: string;
  /** What was damaged stands in the log again. Its keys and what follows it are a rebuild's work. */
  readonly isRestored: boolean;
}

const restored = 'its raw body can be read again: run rebuild, which counts it';

/**
 * Counts dead letters that can be counted now, beside a running server too. Each leaves the dead
 * letters in the very transaction that counts it, so that this may be repeated and interrupted.
 * What was dropped stays so.
 * @param isChosen says which.
 */
export function redriveDeadLetters(
  dataDir: string,
  isChosen: (letter: RecordedDeadLetter) => boolean,
  now: number,
): RedriveResult {
  let counted = 0;
  const failed: FailedRedrive[] = [];
  let dayOf: DayOf | undefined;
  changeSelected(dataDir, isChosen, (database, reader, letter) => {
    const batchId = restoredBatch(dataDir, letter);
    if (batchId !== undefined) {
      failed.push({ batchId, reason: restored, isRestored: true });
      return;
    }
    dayOf ??= dayRule(dayZoneOf(dataDir));
    const record = recordOf(reader, letter);
    const result = record === undefined ? { reason: letter.reason } : recount(record, dayOf);
    if (result.reason === undefined) {
      add(database, result.tally, letter.position);
      deleteFrom(database, 'dead_letters', letter.position);
      counted++;
    } else {
      database
        .prepare('UPDATE dead_letters SET reason = ?, last_failed_at = ? WHERE position = ?')
        .run(result.reason, now, letter.position);
      failed.push({ batchId: letter.batchId, reason: result.reason, isRestored: false });
    }
  });
  return { counted, failed };
}

/** Decides that dead letters are never counted. They stay on record. Returns how many. */
export function dropDeadLetters(
  dataDir: string,
  isChosen: (letter: RecordedDeadLetter) => boolean,
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

/** Changes chosen ones that are not dropped, each in a transaction of its own, if still there. */
function changeSelected(
  dataDir: string,
  isChosen: (letter: RecordedDeadLetter) => boolean,
  act: (database: DatabaseSync, reader: LogReader, letter: RecordedDeadLetter) => void,
): void {
  const database = openDatabaseForChange(dataPaths(dataDir).database);
  try {
    withReader(dataDir, (reader) => {
      for (const letter of readDeadLetters(database).filter(isChosen)) {
        inTransaction(database, () => {
          const isThere = database
            .prepare('SELECT 1 FROM dead_letters WHERE position = ? AND dropped_at IS NULL')
            .get(letter.position);
          if (isThere !== undefined) act(database, reader, letter);
        });
      }
    });
  } finally {
    database.close();
  }
}

function add(database: DatabaseSync, tally: Increments, position: LogPosition): void {
  // What is noted of segments to be removed went by before it was counted.
  const isNoted = position < (readProgressRow(database)?.removedThrough ?? 0);
  // And so did what an unfinished rebuild has made, where it has the letter.
  const isInNext =
    hasTable(database, 'dead_letters_next') &&
    deleteFrom(database, 'dead_letters_next', position) > 0;
  const tables = ['counters', isNoted && 'removed_counters', isInNext && 'counters_next'];
  for (const table of tables) {
    if (table === false) continue;
    const statement = database.prepare(addToCounters(table));
    for (const { date, type, state, count } of rowsOfIncrements(tally)) {
      statement.run(date, typeStateKey(type, state), type, state, count);
    }
  }
}

/** Returns how many were there. */
function deleteFrom(database: DatabaseSync, table: string, position: LogPosition): number {
  return Number(database.prepare(`DELETE FROM ${table} WHERE position = ?`).run(position).changes);
}

function recordOf(reader: LogReader, { position, damagedThrough }: RecordedDeadLetter) {
  return damagedThrough === undefined ? reader.recordAt(position) : undefined;
}

/** The id of the first batch of a damaged place in which nothing is damaged any more. */
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

function withReader<T>(dataDir: string, use: (reader: LogReader) => T): T {
  const reader = new LogReader(nodeFileSystem, dataPaths(dataDir).log);
  try {
    return use(reader);
  } finally {
    reader.close();
  }
}
