import type { DatabaseSync } from 'node:sqlite';

import type { CounterRow } from '../../../domain/counter.ts';
import { asWritten } from '../../../domain/day.ts';
import {
  compareRows,
  counterDifference,
  type AuditSummary,
  type Difference,
} from '../../../pipeline/audit.ts';
import { SpanAudit, type ReceivedRange, type Span, type SpanFindings } from './audit-span.ts';
import { auditOnThreads, threadsFor } from './audit-threads.ts';
import { knownBatches } from '../store/known-batches.ts';
import { dataPaths } from '../data-directory.ts';
import { nodeFileSystem, type FileSystem } from '../log/file-system.ts';
import { checkMissingKeys, finishKeyAudit } from './key-audit.ts';
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
import { finishReplayAudit } from './replay-audit.ts';
import { TemporaryCounters, selectCounters } from '../store/temporary-counters.ts';
import type { KeyedBatch } from '../store/counter-store.ts';
import { openDatabaseReadOnly } from '../store/read-only-database.ts';
import { checkVersion } from '../store/schema.ts';
import { checkDayZone } from '../store/day-zone.ts';
import { blameBatches } from './blame-batches.ts';

export interface AuditOptions {
  readonly dataDir: string;
  /** Of the log. This machine's by default; with another one, `threads` is 1. */
  readonly fileSystem?: FileSystem;
  /** Counters of other dates are not compared. Both ends counted. */
  readonly dates: DateRange | undefined;
  /** Only batches received then are read, and no counters compared: they do not know when their items came. */
  readonly received: ReceivedRange | undefined;
  /** How many threads read the log; undefined: as many as are worth it. */
  readonly threads: number | undefined;
  readonly onDifference: (difference: Difference) => void;
  /** Told now and then how many bytes of the log are read, of how many. */
  readonly onProgress: (bytes: number, total: number) => void;
}

export interface DateRange {
  readonly from: string;
  readonly to: string;
}

const allDates: DateRange = { from: '0000-01-01', to: '9999-12-31' };
/** Of so many differing counters the batches are looked for. */
const namedCountersMax = 1_000;

/**
 * Counts the log again and compares what it says with the counters, the idempotency keys, the dead
 * letters and the position in the database, beside a running server too: what is compared is one
 * state of the database, and the log as far as that has counted it. Memory does not grow with the
 * store. Segments are read on as many threads as there are processors.
 * @throws where the directory holds no pipeline, or changed in a way that takes another run.
 */
export async function auditDataDirectory(options: AuditOptions): Promise<AuditSummary> {
  const paths = dataPaths(options.dataDir);
  const database = openDatabaseReadOnly(paths.database);
  try {
    checkVersion(database, paths.database);
  } catch (error) {
    database.close();
    throw error;
  }
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

/** One of which no header can be read: all of it is damaged. */
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
    // From here on in one state of the database, which is not held for long.
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
      const keys = { missing: this.#missingKeys(), matched: this.#sum('matchedKeys'), progress };
      finishKeyAudit(this.#database, { ...keys, from, through, recordAt }, this.#report);
      const missing = this.#findings.flatMap(({ missingReplays }) => missingReplays);
      const replays = { missing, matched: this.#sum('matchedReplays') };
      finishReplayAudit(this.#database, { ...replays, from, through, recordAt }, this.#report);
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

  /** What removed segments counted is taken as noted. Returns from where on the log is read. */
  #addRemoved(): LogPosition {
    this.#database.exec('BEGIN');
    const progress = readProgressRow(this.#database);
    const { from, to } = allDates;
    this.#recounted.addRows(
      this.#database
        .prepare(selectCounters('removed_counters'))
        .iterate(from, to) as unknown as Iterable<CounterRow>,
    );
    this.#database.exec('COMMIT');
    return progress?.removedThrough ?? 0;
  }

  /** The log between two positions, cut where its segments begin. */
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
    // Where it is read from a copy, the threads read that.
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
      onIncrements: (tally) => this.#recounted.add(tally),
      onDifference: this.#report,
      onProgress: this.#onProgress,
    });
    for (const span of spans) this.#findings.push(audit.audit(span));
  }

  readonly #onProgress = (bytes: number): void => {
    this.#readBytes += bytes;
    this.#options.onProgress(this.#readBytes, this.#totalBytes);
  };

  #sum(name: 'batches' | 'items' | 'bytes' | 'matchedKeys' | 'matchedReplays'): number {
    return this.#findings.reduce((sum, findings) => sum + findings[name], 0);
  }

  #missingKeys(): KeyedBatch[] {
    const missing = this.#findings.flatMap(({ missingKeys }) => missingKeys);
    checkMissingKeys(missing.length);
    return missing;
  }

  #checkProgress(progress: ProgressRow | undefined): void {
    if (progress === undefined) {
      const detail =
        'Nothing says through which byte the log is counted: the table progress is empty.';
      this.#report({ code: 'ledger_missing', detail });
      return;
    }
    const { logId } = progress;
    const ownId = this.#log.logId;
    if (logId !== undefined && ownId !== undefined && !ownId.equals(logId)) {
      this.#report({ code: 'ledger_differs', detail: 'The counters are of another log.' });
    }
  }

  /** Damage that segments cut in two is told once. */
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
        throw new Error('Old segments were removed meanwhile (--keep-raw). Run audit again.');
      }
      const bytes = `bytes ${from} to ${to} of the log`;
      const { rawKeys = [], text = '' } = onRecord[index] ?? {};
      const named = text === '' ? '' : ` Among them, by the keys and replays on record: ${text}.`;
      if (isFileMissing) {
        const hint = from === removedThrough ? ` ${unrecordedRemovalHint}` : '';
        const detail = `The raw bodies in ${bytes} are gone, though they were counted (near ${path}).${named}${hint}`;
        this.#report({ code: 'raw_missing', detail, rawKeys });
      } else {
        const detail = `No sound record stands in ${bytes}, at byte ${offset} of ${path}: the batches that were stored there are damaged.${named}`;
        this.#report({ code: 'raw_damaged', detail, rawKeys });
      }
    }
  }

  #checkDeadLetters(from: LogPosition, through: LogPosition): void {
    const now = readDeadLetters(this.#database).filter(({ position }) => position < through);
    const known = new Set(this.#deadLetters.map(({ position }) => position));
    const isSame = now.every(({ position }) => known.has(position));
    if (!isSame || now.length !== known.size) {
      throw new Error('The dead letters changed meanwhile. Run audit again.');
    }
    if (this.#options.received !== undefined) return;
    const found = new Set(this.#findings.flatMap(({ foundDeadLetters }) => foundDeadLetters));
    for (const { position, batchId, reason } of now) {
      if (position < from || found.has(position)) continue;
      const detail = `Batch ${batchId} is among the dead letters (${reason}), and the raw store has none at byte ${position} of the log.`;
      this.#report({ code: 'dead_letter_unexplained', detail });
    }
  }

  #compareCounters(from: LogPosition, through: LogPosition): void {
    const dates = this.#options.dates ?? allDates;
    const counted = this.#database
      .prepare(selectCounters('counters'))
      .iterate(dates.from, dates.to) as unknown as Iterable<CounterRow>;
    const named: Difference[] = [];
    for (const compared of compareRows(counted, this.#recounted.rows(dates.from, dates.to))) {
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
