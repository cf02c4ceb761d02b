import type { DatabaseSync } from 'node:sqlite';

import { asWritten } from '../../../domain/day.ts';
import {
  compareRows,
  counterDifference,
  type AuditSummary,
  type Difference,
} from '../../../pipeline/findings.ts';
import type { DateRange, ReceivedRange } from '../../../pipeline/store-admin.ts';
import { SpanAudit, type Span, type SpanFindings } from './audit-span.ts';
import { auditOnThreads, threadsFor } from './audit-threads.ts';
import { knownBatches } from '../store/batches-in-ranges.ts';
import { dataPaths } from '../data-directory.ts';
import { nodeFileSystem, type FileSystem } from '../log/file-system.ts';
import {
  readDeadLetters,
  readProgressRow,
  type ProgressRow,
  type RecordedDeadLetter,
} from '../store/progress-row.ts';
import type { LogPosition } from '../log/frame.ts';
import { LogReader } from '../log/log-reader.ts';
import { unrecordedRemovalHint } from '../log/recovery.ts';
import { listSegments } from '../log/segment.ts';
import {
  findLog,
  lastRecordEnd,
  logLocation,
  scanLog,
  type Damage,
  type LogLocation,
} from '../log/scan-log.ts';
import { keyTable, replayTable, TableAudit } from './table-audit.ts';
import { countersBetween, TemporaryCounters } from '../store/temporary-counters.ts';
import { openCurrentReadOnly } from '../store/read-only-database.ts';
import { checkDayZone } from '../store/day-zone.ts';
import { blameBatches } from './blame-batches.ts';

export interface AuditOptions {
  readonly dataDir: string;
  /** The log's file system; this machine's by default. With another one, `threads` must be 1. */
  readonly fileSystem?: FileSystem;
  /** Only counters of these dates are compared; both ends are included. */
  readonly dates: DateRange | undefined;
  /**
   * Only batches received in this range are audited, and no counters, which have no times of
   * receipt.
   */
  readonly received: ReceivedRange | undefined;
  /** How many threads read the log; undefined: as many as are worth starting. */
  readonly threads: number | undefined;
  readonly onDifference: (difference: Difference) => void;
  /** Called periodically with the number of bytes read so far, and of bytes to read. */
  readonly onProgress: (bytes: number, total: number) => void;
}

const allDates: DateRange = { from: '0000-01-01', to: '9999-12-31' };
/** Maximum number of differing counters whose batches are named. */
const namedCountersMax = 1_000;

/**
 * Audits a data directory: counts the log again and compares the result with the counters, the
 * idempotency keys, the dead letters and the position in the database. Works while a server runs,
 * because it compares one state of the database with the log up to that state's position. Memory does
 * not grow with the store.
 *
 * `audit-span` audits one part of the log, on threads (`audit-threads`) if there is much to read;
 * `table-audit` compares keys and replayed batches; `blame-batches` names the batches behind differing
 * counters. Beside the audit, this folder holds the rebuild (`rebuild`, which writes
 * new tables with `generation-writer`) and the backup.
 * @throws if there is no pipeline in the directory, or a change requires another run.
 */
export async function auditDataDirectory(options: AuditOptions): Promise<AuditSummary> {
  const paths = dataPaths(options.dataDir);
  const database = openCurrentReadOnly(paths.database);
  const { fileSystem = nodeFileSystem } = options;
  const log = findLog(fileSystem, paths.log) ?? unreadableLog(fileSystem, paths.log);
  checkDayZone(log.dayZone, options.dataDir);
  const audit = new Audit(options, database, log);
  try {
    return await audit.run();
  } finally {
    audit.close();
  }
}

/** A log without a valid header: all of it is damaged. */
function unreadableLog(fileSystem: FileSystem, directory: string): AuditedLog {
  const identity = { logId: Buffer.alloc(0), dayZone: asWritten };
  const place = logLocation(fileSystem, directory, identity);
  return { ...place, logId: undefined, dayZone: asWritten };
}

interface AuditedLog extends LogLocation {
  readonly logId: Buffer | undefined;
  readonly dayZone: string;
}

class Audit {
  readonly #options: AuditOptions;
  readonly #database: DatabaseSync;
  readonly #log: AuditedLog;
  readonly #recounted = new TemporaryCounters();
  readonly #deadLetters: readonly RecordedDeadLetter[];
  readonly #findings: SpanFindings[] = [];
  readonly #reader: LogReader;
  #readBytes = 0;
  #totalBytes = 0;
  #compared = 0;
  #differences = 0;

  constructor(options: AuditOptions, database: DatabaseSync, place: AuditedLog) {
    this.#options = options;
    this.#database = database;
    this.#log = place;
    this.#reader = new LogReader(place.fileSystem, place.directory);
    this.#deadLetters = readDeadLetters(database);
  }

  async run(): Promise<AuditSummary> {
    const from = this.#addRemoved();
    const soFar = readProgressRow(this.#database)?.position ?? lastRecordEnd(this.#log);
    this.#totalBytes = soFar - from;
    await this.#auditSpans(this.#spans(from, soFar));
    // From here on, read one state of the database, and hold it only briefly.
    this.#database.exec('BEGIN');
    const progress = readProgressRow(this.#database);
    this.#checkProgress(progress);
    const through = progress?.position ?? soFar;
    this.#totalBytes = through - from;
    this.#auditHere([{ from: soFar, through }]);
    this.#checkMissing(progress);
    this.#checkDeadLetters(from, through);
    if (this.#options.received === undefined) {
      const recordAt = (position: LogPosition) => this.#reader.recordAt(position);
      const part = { from, through, progress, recordAt };
      const keys = new TableAudit(keyTable, this.#database, this.#report);
      keys.finish(
        this.#findings.map((found) => found.keys),
        part,
      );
      const replays = new TableAudit(replayTable, this.#database, this.#report);
      replays.finish(
        this.#findings.map((found) => found.replays),
        part,
      );
      this.#compareCounters(from, through);
    }
    return {
      batches: this.#sum('batches'),
      items: this.#sum('items'),
      bytes: this.#sum('bytes'),
      deadLetters: this.#deadLetters.length,
      counters: this.#compared,
      differences: this.#differences,
    };
  }

  close(): void {
    this.#database.close();
    this.#reader.close();
    this.#recounted.close();
  }

  /** Adds the recorded increments of removed segments. Returns the position from which to read the log. */
  #addRemoved(): LogPosition {
    this.#database.exec('BEGIN');
    const progress = readProgressRow(this.#database);
    this.#recounted.addRows(countersBetween(this.#database, 'removed_counters', allDates));
    this.#database.exec('COMMIT');
    return progress?.removedThrough ?? 0;
  }

  /** The log between two positions, divided at the beginnings of its segments. */
  #spans(from: LogPosition, through: LogPosition): Span[] {
    const { fileSystem, directory } = this.#log;
    const bases = listSegments(fileSystem, directory).map(({ base }) => base);
    const cuts = [from, ...bases.filter((base) => base > from && base < through), through];
    return cuts.slice(1).map((end, index) => ({ from: cuts[index] ?? from, through: end }));
  }

  async #auditSpans(spans: readonly Span[]): Promise<void> {
    const threads = this.#options.threads ?? threadsFor(this.#totalBytes);
    if (threads < 2 || spans.length < 2) {
      this.#auditHere(spans);
      return;
    }
    const { received } = this.#options;
    const { directory, salt, headerBytes, dayZone } = this.#log;
    // If the database is read from a copy, the threads read the same copy.
    const databasePath = this.#database.location() ?? dataPaths(this.#options.dataDir).database;
    const place = { directory, salt, headerBytes };
    const deadLetters = this.#deadLetters;
    const settings = { databasePath, place, dayZone, deadLetters, received };
    const findings = await auditOnThreads(spans, threads, settings, {
      onRows: (rows) => this.#recounted.addRows(rows),
      onDifference: this.#report,
      onProgress: this.#onProgress,
    });
    this.#findings.push(...findings);
  }

  #auditHere(spans: readonly Span[]): void {
    const audit = new SpanAudit({
      place: this.#log,
      dayZone: this.#log.dayZone,
      database: this.#database,
      deadLetters: this.#deadLetters,
      received: this.#options.received,
      onIncrements: (increments) => this.#recounted.add(increments),
      onDifference: this.#report,
      onProgress: this.#onProgress,
    });
    for (const span of spans) this.#findings.push(audit.audit(span));
  }

  readonly #onProgress = (bytes: number): void => {
    this.#readBytes += bytes;
    this.#options.onProgress(this.#readBytes, this.#totalBytes);
  };

  #sum(name: 'batches' | 'items' | 'bytes'): number {
    return this.#findings.reduce((sum, findings) => sum + findings[name], 0);
  }

  #checkProgress(progress: ProgressRow | undefined): void {
    if (progress === undefined) {
      const detail =
        'pipeline.db does not say through which byte the log is counted: its table progress is empty.';
      this.#report({ code: 'ledger_missing', detail });
      return;
    }
    const { logId } = progress;
    const ownId = this.#log.logId;
    if (logId !== undefined && ownId !== undefined && !ownId.equals(logId)) {
      this.#report({ code: 'ledger_differs', detail: 'The counters belong to another log.' });
    }
  }

  /** Damaged and missing ranges; adjacent missing files are one range. */
  #missing(): Damage[] {
    const joined: Damage[] = [];
    const missing = this.#findings.flatMap((findings) => findings.missing);
    for (const damage of missing.sort((a, b) => a.from - b.from)) {
      const last = joined.at(-1);
      const goesOn =
        last?.isFileMissing === true && damage.isFileMissing && last.to === damage.from;
      if (goesOn) joined[joined.length - 1] = { ...last, to: damage.to };
      else joined.push(damage);
    }
    return joined;
  }

  #checkMissing(progress: ProgressRow | undefined): void {
    const removedThrough = progress?.removedThrough ?? 0;
    const missing = this.#missing();
    const onRecord = knownBatches(this.#database, missing);
    for (const [index, { from, to, path, offset, isFileMissing }] of missing.entries()) {
      if (isFileMissing && from < removedThrough) {
        throw new Error(
          'Old segments were removed during the audit (--keep-raw). Run audit again.',
        );
      }
      const bytes = `bytes ${from} to ${to} of the log`;
      const { rawKeys = [], text = '' } = onRecord[index] ?? {};
      const named = text === '' ? '' : ` Among them, by idempotency keys and replays: ${text}.`;
      if (isFileMissing) {
        const hint = from === removedThrough ? ` ${unrecordedRemovalHint}` : '';
        const detail = `The raw bodies in ${bytes} are missing, although they were counted (near ${path}).${named}${hint}`;
        this.#report({ code: 'raw_missing', detail, rawKeys });
      } else {
        const detail = `There is no valid record in ${bytes}, at byte ${offset} of ${path}: the batches stored there are damaged.${named}`;
        this.#report({ code: 'raw_damaged', detail, rawKeys });
      }
    }
  }

  #checkDeadLetters(from: LogPosition, through: LogPosition): void {
    const now = readDeadLetters(this.#database).filter(({ position }) => position < through);
    const known = new Set(this.#deadLetters.map(({ position }) => position));
    const isSame = now.every(({ position }) => known.has(position));
    if (!isSame || now.length !== known.size) {
      throw new Error('The dead letters changed during the audit. Run audit again.');
    }
    if (this.#options.received !== undefined) return;
    const found = new Set(this.#findings.flatMap(({ foundDeadLetters }) => foundDeadLetters));
    for (const { position, batchId, reason } of now) {
      if (position < from || found.has(position)) continue;
      const detail = `Batch ${batchId} is a dead letter (${reason}), but the raw store has no batch at byte ${position} of the log.`;
      this.#report({ code: 'dead_letter_unexplained', detail });
    }
  }

  #compareCounters(from: LogPosition, through: LogPosition): void {
    const dates = this.#options.dates ?? allDates;
    const counted = countersBetween(this.#database, 'counters', dates);
    const named: Difference[] = [];
    for (const compared of compareRows(counted, this.#recounted.rows(dates))) {
      this.#compared++;
      const difference = counterDifference(compared);
      if (difference === undefined) continue;
      if (named.length < namedCountersMax) named.push(difference);
      else this.#report(difference);
    }
    if (named.length === 0) return;
    const records = scanLog({ ...this.#log, from, through });
    for (const difference of blameBatches(named, records, this.#log.dayZone))
      this.#report(difference);
  }

  readonly #report = (difference: Difference): void => {
    this.#differences++;
    this.#options.onDifference(difference);
  };
}
