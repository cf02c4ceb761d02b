import { join } from 'node:path';
import type { DatabaseSync, StatementSync } from 'node:sqlite';

import type { CounterRow } from '../../../domain/counter.ts';
import { counterDifference, type Difference } from '../../../pipeline/findings.ts';
import { knownBatches } from '../store/batches-in-ranges.ts';
import { dataPaths, lockFile } from '../data-directory.ts';
import { nodeFileSystem, type FileSystem } from '../log/file-system.ts';
import { generationWriter, type GenerationWriter } from './generation-writer.ts';
import { mayKeyBeExpired, readProgressRow, type ProgressRow } from '../store/progress-row.ts';
import type { LogPosition } from '../log/frame.ts';
import { LogReader } from '../log/log-reader.ts';
import { unrecordedRemovalHint } from '../log/recovery.ts';
import type { LogIdentity } from '../log/segment.ts';
import { endOfFiles, findLog, lastRecordEnd, scanLog, type LogLocation } from '../log/scan-log.ts';
import { RecordCounter } from '../store/record-counter.ts';
import { checkDayZone } from '../store/day-zone.ts';
import {
  createGeneration,
  generationTables,
  hasTable,
  inTransaction,
  keysByPosition,
  openDatabaseForChange,
} from '../store/schema.ts';
import { amountOf } from '../../../util/thousands.ts';

export interface RebuildOptions {
  readonly dataDir: string;
  /** The log's file system; this machine's by default. */
  readonly fileSystem?: FileSystem;
  /** Only reports differences; the new tables are kept for the next rebuild. */
  readonly dryRun: boolean;
  /** Batches whose raw bodies are damaged become dead letters, instead of preventing the rebuild. */
  readonly withoutDamaged: boolean;
  readonly onDifference: (difference: Difference) => void;
  /** Called periodically with the number of bytes counted so far, and of bytes to count. */
  readonly onProgress: (bytes: number, total: number) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export interface RebuildSummary {
  readonly differences: number;
  /** Whether the new counters have replaced the old ones. */
  readonly isSwitched: boolean;
  readonly damagedSpans: number;
}

/** Maximum bytes counted in one transaction, so that the server's transactions do not wait long. */
const stepBytes = 2 * 1024 * 1024;
/** When at most this many bytes are left, the transaction that replaces the tables counts them. */
const lastBytes = 1024 * 1024;

/**
 * Counts the whole log again into new tables, also while a server runs, then replaces the old ones in
 * one transaction. An interrupted rebuild leaves the counters unchanged, and the next one continues
 * it. The old counters are kept as `counters_before`.
 * @throws if there is no pipeline in the directory, counters of an earlier rebuild are still kept, or
 *   batches are damaged and `withoutDamaged` is not set.
 */
export function rebuildDataDirectory(options: RebuildOptions): RebuildSummary {
  return withDatabase(options, (database, place) => {
    if (hasTable(database, 'counters_before')) {
      throw new Error(
        'The counters from before the last rebuild are still kept. Drop them with rebuild --drop-old, then rebuild again.',
      );
    }
    return new Rebuild(options, database, place).run();
  });
}

/** Drops the tables that a rebuild has replaced. Returns whether there were any. */
export function dropReplacedTables(dataDir: string, fileSystem = nodeFileSystem): boolean {
  return withDatabase({ dataDir, fileSystem }, (database) => {
    if (!hasTable(database, 'counters_before')) return false;
    inTransaction(database, () => {
      for (const table of generationTables) database.exec(`DROP TABLE IF EXISTS ${table}_before`);
    });
    return true;
  });
}

type OpenedLog = LogLocation & LogIdentity;

class Rebuild {
  readonly #options: RebuildOptions;
  readonly #database: DatabaseSync;
  readonly #log: OpenedLog;
  readonly #counter: RecordCounter;
  #position: LogPosition = 0;
  #prepared: { writer: GenerationWriter; dropped: StatementSync } | undefined;

  constructor(options: RebuildOptions, database: DatabaseSync, place: OpenedLog) {
    this.#options = options;
    this.#database = database;
    this.#log = place;
    this.#counter = new RecordCounter(place.dayZone);
  }

  run(): RebuildSummary {
    this.#position = this.#begin();
    for (;;) {
      const through = this.#through();
      if (through - this.#position <= lastBytes) break;
      this.#step(through);
      this.#options.onProgress(this.#position, through);
    }
    return inTransaction(this.#database, () => this.#finish());
  }

  /** Creates the new tables, or continues those of an interrupted rebuild. Returns their position. */
  #begin(): LogPosition {
    return inTransaction(this.#database, () => {
      const { removedThrough = 0 } = readProgressRow(this.#database) ?? {};
      if (hasTable(this.#database, 'rebuild')) {
        const row = this.#database.prepare('SELECT log_id, position FROM rebuild').get();
        const position = Number(row?.['position']);
        const isOfThisLog = this.#log.logId.equals(row?.['log_id'] as Uint8Array);
        // Otherwise segments that the new tables have not counted may have been removed.
        if (isOfThisLog && position >= removedThrough) return position;
        dropUnfinished(this.#database);
      }
      this.#database.exec(
        `${createGeneration('_next')}
         CREATE TABLE rebuild (log_id BLOB NOT NULL, position INTEGER NOT NULL) STRICT`,
      );
      this.#database
        .prepare('INSERT INTO rebuild VALUES (?, ?)')
        .run(this.#log.logId, removedThrough);
      this.#copyRemoved(removedThrough);
      return removedThrough;
    });
  }

  /** Copies the rows that the database has for segments that may have been removed. */
  #copyRemoved(through: LogPosition): void {
    const database = this.#database;
    database.exec('INSERT INTO counters_next SELECT * FROM removed_counters');
    for (const table of ['dead_letters', 'idempotency_keys', 'replayed_batches']) {
      database
        .prepare(`INSERT INTO ${table}_next SELECT * FROM ${table} WHERE position < ?`)
        .run(through);
    }
  }

  /** The position up to which the server has counted; if that is unknown, the end of the log. */
  #through(): LogPosition {
    const counted = readProgressRow(this.#database)?.position;
    if (counted === undefined) return lastRecordEnd(this.#log);
    const end = endOfFiles(this.#log);
    if (counted <= end) return counted;
    if (this.#options.withoutDamaged) return lastRecordEnd(this.#log);
    throw new Error(
      `According to pipeline.db the log is counted through byte ${counted}, but its files end at byte ${end}. Restore the log from a backup, or count what is there: rebuild --without-damaged. The counters are unchanged.`,
    );
  }

  #step(through: LogPosition): void {
    const from = this.#position;
    inTransaction(this.#database, () => this.#count(through, from + stepBytes));
  }

  /** Counts from the current position into the new tables, up to about `enough`. */
  #count(through: LogPosition, enough: LogPosition): void {
    const { writer, dropped } = this.#statements();
    const progress = this.#progressOfThisLog();
    let position = this.#position;
    let isAtEnd = true;
    for (const found of scanLog({ ...this.#log, from: position, through })) {
      if (found.damage !== undefined) {
        writer.addDamage(found.damage);
      } else {
        const { record } = found;
        const isDropped = dropped.get(record.position) !== undefined;
        const reason = isDropped ? undefined : this.#counter.count(record);
        if (isDropped || reason !== undefined) writer.addDeadLetter(record, reason);
        writer.addKey(record, mayKeyBeExpired(progress, record));
        writer.addReplayed(record);
      }
      position = found.end;
      if (position < enough && !this.#counter.isFull) continue;
      isAtEnd = false;
      break;
    }
    // The last record may be followed by a segment header.
    if (isAtEnd) position = Math.max(position, through);
    writer.add(this.#counter.takeIncrements());
    this.#database.prepare('UPDATE rebuild SET position = ?').run(position);
    this.#position = position;
  }

  /**
   * Prepared once: the statements of each step would stay in memory until the event loop turns, which a
   * rebuild does not let it do.
   */
  #statements() {
    this.#prepared ??= {
      writer: generationWriter(this.#database, this.#options.now()),
      dropped: this.#database.prepare(
        'SELECT 1 FROM dead_letters WHERE position = ? AND dropped_at IS NOT NULL',
      ),
    };
    return this.#prepared;
  }

  /** The row of `progress`, if it belongs to this log. */
  #progressOfThisLog(): ProgressRow | undefined {
    const progress = readProgressRow(this.#database);
    return progress?.logId !== undefined && this.#log.logId.equals(progress.logId)
      ? progress
      : undefined;
  }

  /** Counts the rest, reports differences and replaces the tables, in one transaction. */
  #finish(): RebuildSummary {
    const database = this.#database;
    while (this.#position < this.#through()) this.#count(this.#through(), Number.POSITIVE_INFINITY);
    this.#subtractDropped();
    const damagedSpans = this.#newDamage().length;
    if (damagedSpans > 0 && !this.#options.withoutDamaged) {
      throw new Error(
        `The log is damaged in ${amountOf(damagedSpans, 'place')} (audit names them), and the batches stored there cannot be counted again. Restore the log from a backup, or count without those batches: rebuild --without-damaged. ${this.#isBeginningMissing() ? `${unrecordedRemovalHint} ` : ''}The counters are unchanged.`,
      );
    }
    let differences = 0;
    const rows = database.prepare(differing).iterate() as unknown as Iterable<DifferingRow>;
    for (const { counted, recounted, ...counter } of rows) {
      const both = { counted: counted ?? undefined, recounted: recounted ?? undefined };
      const difference = counterDifference({ counter, ...both });
      if (difference === undefined) continue;
      differences++;
      this.#options.onDifference(difference);
    }
    this.#options.onProgress(this.#position, this.#position);
    if (!this.#options.dryRun) this.#switch();
    return { differences, isSwitched: !this.#options.dryRun, damagedSpans };
  }

  /**
   * Subtracts dead letters that were dropped after this rebuild, or the run that it continues, had
   * counted them. Those without a valid record are reported as damage, or were never counted.
   */
  #subtractDropped(): void {
    const rows = this.#database.prepare(droppedMeanwhile).all(this.#position);
    if (rows.length === 0) return;
    const { writer } = this.#statements();
    using reader = new LogReader(this.#log.fileSystem, this.#log.directory);
    for (const row of rows) {
      const record = reader.recordAt(Number(row['position']));
      if (record === undefined || this.#counter.count(record) !== undefined) continue;
      writer.subtract(this.#counter.takeIncrements());
      writer.addDeadLetter(record, undefined);
    }
  }

  /** Whether segments are missing at the position at which the rebuild began. */
  #isBeginningMissing(): boolean {
    const { removedThrough: from = 0 } = readProgressRow(this.#database) ?? {};
    const [first] = scanLog({ ...this.#log, from, through: from + 1 });
    return first?.damage?.isFileMissing === true;
  }

  /** Names the known batches of newly damaged ranges in the reasons of their dead letters. */
  #nameNewDamage(): void {
    const ranges = this.#newDamage();
    const write = this.#database.prepare(
      "UPDATE dead_letters_next SET reason = reason || '; among it were: ' || ? WHERE position = ?",
    );
    for (const [index, { text }] of knownBatches(this.#database, ranges).entries()) {
      const from = ranges[index]?.from ?? null;
      if (text !== '') write.run(text, from);
    }
  }

  #newDamage(): { readonly from: LogPosition; readonly to: LogPosition }[] {
    const rows = this.#database.prepare(newlyDamaged).all();
    return rows.map((row) => ({
      from: Number(row['position']),
      to: Number(row['damaged_through']),
    }));
  }

  #switch(): void {
    const database = this.#database;
    this.#nameNewDamage();
    // Copy the drops of dead letters that were made meanwhile.
    database.exec(
      `UPDATE dead_letters_next SET dropped_at =
       (SELECT dropped_at FROM dead_letters AS known WHERE known.position = dead_letters_next.position)`,
    );
    for (const table of generationTables) {
      database.exec(`ALTER TABLE ${table} RENAME TO ${table}_before`);
      database.exec(`ALTER TABLE ${table}_next RENAME TO ${table}`);
    }
    database.exec(
      `DROP INDEX IF EXISTS idempotency_keys_by_position; ${keysByPosition}; DROP TABLE rebuild`,
    );
    this.#repairProgress();
  }

  /**
   * Makes the row of `progress` match the rebuilt counters, if it was missing or wrong. It is neither
   * while a server runs.
   */
  #repairProgress(): void {
    const database = this.#database;
    const progress = readProgressRow(database);
    const { logId } = this.#log;
    if (this.#progressOfThisLog() === undefined) {
      // Positions in another log do not apply to this one.
      database.exec('DELETE FROM log_ages; INSERT INTO log_ages (position, run_ms) VALUES (0, 0)');
      database.exec('UPDATE progress SET keys_expired_through = 0, run_ms = 0');
    }
    database.prepare('DELETE FROM log_ages WHERE position > ?').run(this.#position);
    if (progress === undefined) {
      database
        .prepare('INSERT INTO progress (one, log_id, position) VALUES (1, ?, ?)')
        .run(logId, this.#position);
    } else {
      database.prepare('UPDATE progress SET log_id = ?, position = ?').run(logId, this.#position);
    }
  }
}

interface DifferingRow extends Omit<CounterRow, 'count'> {
  readonly counted: number | null;
  readonly recounted: number | null;
}

const differing = `
  SELECT date, type, state, now.count AS counted, next.count AS recounted
    FROM counters_next AS next LEFT JOIN counters AS now USING (date, type_state, type, state)
    WHERE now.count IS NOT next.count
  UNION ALL
  SELECT date, type, state, now.count AS counted, NULL AS recounted
    FROM counters AS now LEFT JOIN counters_next AS next USING (date, type_state, type, state)
    WHERE next.count IS NULL
  ORDER BY date, type, state`;

const newlyDamaged = `
  SELECT position, damaged_through FROM dead_letters_next AS next
    WHERE damaged_through IS NOT NULL AND NOT EXISTS
      (SELECT 1 FROM dead_letters AS known
        WHERE known.position = next.position AND known.damaged_through >= next.damaged_through)
    ORDER BY position`;

/** Dropped dead letters that the new tables do not have. */
const droppedMeanwhile = `
  SELECT position FROM dead_letters AS known WHERE dropped_at IS NOT NULL AND position < ?
    AND NOT EXISTS (SELECT 1 FROM dead_letters_next AS next WHERE next.position = known.position)`;

function withDatabase<T>(
  { dataDir, fileSystem = nodeFileSystem }: Pick<RebuildOptions, 'dataDir' | 'fileSystem'>,
  act: (database: DatabaseSync, place: OpenedLog) => T,
): T {
  const paths = dataPaths(dataDir);
  const database = openDatabaseForChange(paths.database);
  const lock = lockFile(join(paths.root, 'rebuild-lock.db'));
  try {
    if (lock === undefined) {
      throw new Error(
        'Another rebuild is running in this data directory. Wait until it has ended.',
      );
    }
    const place = findLog(fileSystem, paths.log);
    if (place === undefined) throw new Error(`${paths.log} holds no log to count.`);
    checkDayZone(place.dayZone, dataDir);
    return act(database, place);
  } finally {
    database.close();
    lock?.release();
  }
}

function dropUnfinished(database: DatabaseSync): void {
  for (const table of generationTables) database.exec(`DROP TABLE IF EXISTS ${table}_next`);
  database.exec('DROP TABLE rebuild');
}
