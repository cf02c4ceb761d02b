import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';

import { counterDifference, type Difference } from '../../../pipeline/audit.ts';
import { knownBatches } from '../store/known-batches.ts';
import { dataPaths, lockFile } from '../data-directory.ts';
import { nodeFileSystem, type FileSystem } from '../log/file-system.ts';
import { GenerationWriter } from './generation-writer.ts';
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

export interface RebuildOptions {
  readonly dataDir: string;
  /** Of the log. This machine's by default. */
  readonly fileSystem?: FileSystem;
  /** Only shows the difference; what is built is kept for the next rebuild. */
  readonly dryRun: boolean;
  /** Counts without the batches whose raw bodies are damaged: they become dead letters. */
  readonly withoutDamaged: boolean;
  readonly onDifference: (difference: Difference) => void;
  /** Told now and then how many bytes of the log are counted, of how many. */
  readonly onProgress: (bytes: number, total: number) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export interface RebuildSummary {
  readonly differences: number;
  /** Whether the new counters are in force. */
  readonly isSwitched: boolean;
  readonly damagedSpans: number;
}

/** Counted in one transaction at most: the server's own must not wait long. */
const stepBytes = 2 * 1024 * 1024;
/** With less than this left to count, the rest is counted in the transaction that switches. */
const lastBytes = 1024 * 1024;

/**
 * Counts the whole log again into tables of its own, beside a running server, then puts them in
 * the place of those in force, in one transaction. Interrupted anywhere, it leaves the counters as
 * they were, and the next rebuild goes on where it stopped. The counters that were in force are
 * kept as `counters_before`.
 * @throws where the directory holds no pipeline, counters of an earlier rebuild are still kept, or
 *   batches are damaged and `withoutDamaged` does not say to do without them.
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

/** Drops the tables that a rebuild has replaced. Says whether there were any. */
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

  /** Makes the tables, or finds those that an interrupted rebuild has left. Returns how far it came. */
  #begin(): LogPosition {
    return inTransaction(this.#database, () => {
      const { removedThrough = 0 } = readProgressRow(this.#database) ?? {};
      if (hasTable(this.#database, 'rebuild')) {
        const row = this.#database.prepare('SELECT log_id, position FROM rebuild').get();
        const position = Number(row?.['position']);
        const isOfThisLog = this.#log.logId.equals(row?.['log_id'] as Uint8Array);
        // What lies before was removed meanwhile, perhaps uncounted here.
        if (isOfThisLog && position >= removedThrough) return position;
        dropUnfinished(this.#database);
      }
      createGeneration(this.#database, '_next');
      this.#database.exec(
        'CREATE TABLE rebuild (log_id BLOB NOT NULL, position INTEGER NOT NULL) STRICT',
      );
      this.#database
        .prepare('INSERT INTO rebuild VALUES (?, ?)')
        .run(this.#log.logId, removedThrough);
      this.#copyRemoved(removedThrough);
      return removedThrough;
    });
  }

  /** Of segments that may be gone, what was noted is all that is known. */
  #copyRemoved(through: LogPosition): void {
    const database = this.#database;
    database.exec('INSERT INTO counters_next SELECT * FROM removed_counters');
    for (const table of ['dead_letters', 'idempotency_keys', 'replayed_batches']) {
      database
        .prepare(`INSERT INTO ${table}_next SELECT * FROM ${table} WHERE position < ?`)
        .run(through);
    }
  }

  /** As far as the log is counted by the server; with no ledger left, as far as it goes. */
  #through(): LogPosition {
    const counted = readProgressRow(this.#database)?.position;
    if (counted === undefined) return lastRecordEnd(this.#log);
    const end = endOfFiles(this.#log);
    if (counted <= end) return counted;
    if (this.#options.withoutDamaged) return lastRecordEnd(this.#log);
    throw new Error(
      `The log is said to be counted through byte ${counted}, and its files end at byte ${end}. Restore the log from a backup, or count what is there: rebuild --without-damaged. The counters are as they were.`,
    );
  }

  #step(through: LogPosition): void {
    const from = this.#position;
    inTransaction(this.#database, () => this.#count(through, from + stepBytes));
  }

  /** Counts from the position on, through about `enough`, into the tables. */
  #count(through: LogPosition, enough: LogPosition): void {
    const writer = new GenerationWriter(this.#database, this.#options.now());
    const dropped = this.#database.prepare(
      'SELECT 1 FROM dead_letters WHERE position = ? AND dropped_at IS NOT NULL',
    );
    const ledger = this.#progressOfThisLog();
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
        writer.addKey(record, mayKeyBeExpired(ledger, record));
        writer.addReplayed(record);
      }
      position = found.end;
      if (position < enough && !this.#counter.isFull) continue;
      isAtEnd = false;
      break;
    }
    // Behind the last record there may be a segment's header.
    if (isAtEnd) position = Math.max(position, through);
    writer.addIncrements(this.#counter.takeIncrements());
    this.#database.prepare('UPDATE rebuild SET position = ?').run(position);
    this.#position = position;
  }

  /** The ledger, if it is of this log. */
  #progressOfThisLog(): ProgressRow | undefined {
    const ledger = readProgressRow(this.#database);
    return ledger?.logId !== undefined && this.#log.logId.equals(ledger.logId) ? ledger : undefined;
  }

  /** Within one transaction: counts the rest, shows what differs, and switches. */
  #finish(): RebuildSummary {
    const database = this.#database;
    while (this.#position < this.#through()) this.#count(this.#through(), Number.POSITIVE_INFINITY);
    this.#subtractDropped();
    const damagedSpans = this.#nameNewDamage();
    if (damagedSpans > 0 && !this.#options.withoutDamaged) {
      throw new Error(
        `The log is damaged in ${damagedSpans} ${damagedSpans === 1 ? 'place' : 'places'} (audit names them), and what was stored there cannot be counted again. Restore the log from a backup, or count without those batches: rebuild --without-damaged. ${this.#isBeginningMissing() ? `${unrecordedRemovalHint} ` : ''}The counters are as they were.`,
      );
    }
    let differences = 0;
    for (const row of database.prepare(differing).iterate()) {
      const difference = counterDifference({
        counter: {
          date: String(row['date']),
          type: String(row['type']),
          state: String(row['state']),
        },
        counted: numberOrUndefined(row['counted']),
        recounted: numberOrUndefined(row['recounted']),
      });
      if (difference === undefined) continue;
      differences++;
      this.#options.onDifference(difference);
    }
    this.#options.onProgress(this.#position, this.#position);
    if (!this.#options.dryRun) this.#switch();
    return { differences, isSwitched: !this.#options.dryRun, damagedSpans };
  }

  /**
   * What was dropped after it was counted here, by an earlier run or by this one, is taken out
   * again. One that no sound record stands for any more was told as damage, or never counted.
   */
  #subtractDropped(): void {
    const rows = this.#database.prepare(droppedMeanwhile).all(this.#position);
    if (rows.length === 0) return;
    const writer = new GenerationWriter(this.#database, this.#options.now());
    const reader = new LogReader(this.#log.fileSystem, this.#log.directory);
    try {
      for (const row of rows) {
        const record = reader.recordAt(Number(row['position']));
        if (record === undefined || this.#counter.count(record) !== undefined) continue;
        writer.subtract(this.#counter.takeIncrements());
        writer.addDeadLetter(record, undefined);
      }
    } finally {
      reader.close();
    }
  }

  /** Whether segments are missing from the place on at which this began. */
  #isBeginningMissing(): boolean {
    const { removedThrough = 0 } = readProgressRow(this.#database) ?? {};
    const row = this.#database
      .prepare(`SELECT 1 FROM dead_letters_next WHERE position = ? AND reason LIKE '% is gone%'`)
      .get(removedThrough);
    return row !== undefined;
  }

  /** Returns how many places are damaged that were not known to be, after it has named their batches. */
  #nameNewDamage(): number {
    const rows = this.#database.prepare(newlyDamaged).all();
    const places = rows.map((row) => ({
      from: Number(row['position']),
      to: Number(row['damaged_through']),
    }));
    const write = this.#database.prepare(
      'UPDATE dead_letters_next SET reason = ? WHERE position = ?',
    );
    for (const [index, { text }] of knownBatches(this.#database, places).entries()) {
      // A dry run may have named them before.
      const reason = String(rows[index]?.['reason']).split(reasonNames, 1).join('');
      if (text !== '') write.run(`${reason}${reasonNames}${text}`, places[index]?.from ?? null);
    }
    return places.length;
  }

  #switch(): void {
    const database = this.#database;
    // What was dropped while this counted.
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
   * A ledger that is missing or wrong is made as the rebuilt counters are. Beside a running server
   * it is neither: a record ends at its position.
   */
  #repairProgress(): void {
    const database = this.#database;
    const ledger = readProgressRow(database);
    const { logId } = this.#log;
    if (this.#progressOfThisLog() === undefined) {
      // Positions in another log say nothing of this one.
      database.exec('DELETE FROM log_ages; INSERT INTO log_ages (position, run_ms) VALUES (0, 0)');
      database.exec('UPDATE progress SET keys_expired_through = 0, run_ms = 0');
    }
    database.prepare('DELETE FROM log_ages WHERE position > ?').run(this.#position);
    if (ledger === undefined) {
      database
        .prepare('INSERT INTO progress (one, log_id, position) VALUES (1, ?, ?)')
        .run(logId, this.#position);
    } else {
      database.prepare('UPDATE progress SET log_id = ?, position = ?').run(logId, this.#position);
    }
  }
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
  SELECT position, damaged_through, reason FROM dead_letters_next AS next
    WHERE damaged_through IS NOT NULL AND NOT EXISTS
      (SELECT 1 FROM dead_letters AS known
        WHERE known.position = next.position AND known.damaged_through >= next.damaged_through)
    ORDER BY position`;
/** Stands in the reason of a damaged place before the batches that are known to have stood there. */
const reasonNames = '; among it were: ';

/** Letters that were dropped, of which the new tables know nothing. */
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
      throw new Error('Another rebuild is under way in this data directory. Let it end first.');
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

function numberOrUndefined(value: unknown): number | undefined {
  return value === null ? undefined : Number(value);
}
