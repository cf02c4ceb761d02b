import type { DatabaseSync } from 'node:sqlite';

import { formatBatchId, rawKeyOf } from '../../domain/batch-id.ts';
import type { CounterRow } from '../../domain/counter.ts';
import {
  compareRows,
  counterDifference,
  type AuditSummary,
  type Difference,
} from '../../pipeline/audit.ts';
import { dataPaths } from './data-directory.ts';
import { nodeFileSystem } from './file-system.ts';
import { KeyAudit } from './key-audit.ts';
import { readDeadLetters, readLedger, type Ledger, type RecordedDeadLetter } from './ledger.ts';
import type { LogPosition, LogRecord } from './log-frame.ts';
import { readLogId, saltOfLog } from './log-segment.ts';
import { lastRecordEnd, surveyLog, type Damage, type LogPlace } from './log-survey.ts';
import { RecordCounter } from './record-counter.ts';
import { ScratchCounters, selectCounters } from './scratch-counters.ts';
import { checkVersion, openDatabaseReadOnly } from './sqlite-schema.ts';
import { nameBatches } from './suspects.ts';

export interface AuditOptions {
  readonly dataDir: string;
  /** Counters of other dates are not compared. Both ends counted. */
  readonly dates: DateRange | undefined;
  /**
   * Only batches received then are read (milliseconds since 1970, `to` excluded), and no counters
   * compared: they do not know when their items came.
   */
  readonly received: { readonly from: number; readonly to: number } | undefined;
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
const progressBytes = 4 * 1024 * 1024;

/**
 * Counts the log again and compares what it says with the counters, the idempotency keys, the dead
 * letters and the position in the database, beside a running server too: what is compared is one
 * state of the database, and the log as far as that has counted it. Memory does not grow with the
 * store.
 * @throws where the directory holds no pipeline, or changed in a way that takes another run.
 */
export function auditDataDirectory(options: AuditOptions): AuditSummary {
  const paths = dataPaths(options.dataDir);
  const database = openDatabaseReadOnly(paths.database);
  checkVersion(database, paths.database);
  const logId = readLogId(nodeFileSystem, paths.log);
  const salt = logId === undefined ? 0 : saltOfLog(logId);
  const place = { fileSystem: nodeFileSystem, directory: paths.log, salt };
  const audit = new Audit(options, database, place, logId);
  try {
    return audit.run();
  } finally {
    audit.close();
  }
}

class Audit {
  readonly #options: AuditOptions;
  readonly #database: DatabaseSync;
  readonly #place: LogPlace;
  readonly #logId: Buffer | undefined;
  readonly #keys: KeyAudit;
  readonly #counter = new RecordCounter();
  readonly #recounted = new ScratchCounters();
  readonly #deadLetters: ReadonlyMap<LogPosition, RecordedDeadLetter>;
  readonly #metDeadLetters = new Set<LogPosition>();
  /** Where nothing is found, retention may have been at work: the end decides. */
  readonly #missing: Damage[] = [];
  #batches = 0;
  #items = 0;
  #bytes = 0;
  #compared = 0;
  #differences = 0;

  constructor(
    options: AuditOptions,
    database: DatabaseSync,
    place: LogPlace,
    logId: Buffer | undefined,
  ) {
    this.#options = options;
    this.#database = database;
    this.#place = place;
    this.#logId = logId;
    this.#keys = new KeyAudit(database, (difference) => this.#report(difference));
    this.#deadLetters = new Map(readDeadLetters(database).map((each) => [each.position, each]));
  }

  run(): AuditSummary {
    const from = this.#addRemoved();
    const soFar = readLedger(this.#database)?.position ?? lastRecordEnd(this.#place);
    this.#survey(from, soFar, soFar);
    // From here on in one state of the database, which is not held for long.
    this.#database.exec('BEGIN');
    const ledger = readLedger(this.#database);
    this.#checkLedger(ledger);
    const through = ledger?.position ?? soFar;
    this.#survey(soFar, through, through);
    this.#checkMissing(ledger);
    this.#checkDeadLetters(from, through);
    if (this.#options.received === undefined) {
      this.#keys.finish(ledger?.keysExpiredBefore ?? 0, from, through);
      this.#compareCounters(from, through);
    }
    return {
      batches: this.#batches,
      items: this.#items,
      bytes: this.#bytes,
      deadLetters: this.#deadLetters.size,
      counters: this.#compared,
      differences: this.#differences,
    };
  }

  close(): void {
    this.#database.close();
    this.#recounted.close();
  }

  /** What removed segments counted is taken as noted. Returns from where on the log is read. */
  #addRemoved(): LogPosition {
    this.#database.exec('BEGIN');
    const ledger = readLedger(this.#database);
    const { from, to } = allDates;
    this.#recounted.addRows(
      this.#database
        .prepare(selectCounters('removed_counters'))
        .iterate(from, to) as unknown as Iterable<CounterRow>,
    );
    this.#database.exec('COMMIT');
    return ledger?.removedThrough ?? 0;
  }

  #survey(from: LogPosition, through: LogPosition, total: LogPosition): void {
    const { received, onProgress } = this.#options;
    let toldAt = from;
    for (const found of surveyLog({ ...this.#place, from, through })) {
      if (found.damage !== undefined) this.#checkDamage(found.damage);
      else if (found.end > through) this.#reportInside(found.record, through);
      else if (received === undefined || isWithin(found.record, received)) this.#take(found.record);
      if (found.end - toldAt < progressBytes) continue;
      toldAt = found.end;
      onProgress(found.end, total);
    }
    this.#recounted.add(this.#counter.takeTally());
    onProgress(through, total);
  }

  #take(record: LogRecord): void {
    this.#batches++;
    this.#items += record.accepted;
    this.#bytes += record.body.length;
    this.#keys.add(record);
    if (this.#deadLetters.has(record.position)) {
      this.#metDeadLetters.add(record.position);
      return;
    }
    const reason = this.#counter.count(record);
    if (reason !== undefined) {
      const rawKey = rawKeyOfRecord(record);
      const detail = `${rawKey} cannot be counted (${reason}), and is not among the dead letters.`;
      this.#report({ code: 'batch_not_counted', detail, rawKeys: [rawKey] });
    }
    if (this.#counter.isFull) this.#recounted.add(this.#counter.takeTally());
  }

  #checkDamage(damage: Damage): void {
    for (let at = damage.from; at < damage.to;) {
      const known = this.#deadLetters.get(at);
      if (known?.damagedThrough === undefined) {
        this.#missing.push({ ...damage, from: at });
        return;
      }
      this.#metDeadLetters.add(at);
      at = known.damagedThrough;
    }
  }

  #reportInside(record: LogRecord, position: LogPosition): void {
    const rawKey = rawKeyOfRecord(record);
    const detail = `The log is said to be counted through byte ${position}, which lies within ${rawKey}.`;
    this.#report({ code: 'ledger_differs', detail, rawKeys: [rawKey] });
  }

  #checkLedger(ledger: Ledger | undefined): void {
    if (ledger === undefined) {
      const detail =
        'Nothing says through which byte the log is counted: the table progress is empty.';
      this.#report({ code: 'ledger_missing', detail });
      return;
    }
    const { logId } = ledger;
    if (logId !== undefined && this.#logId !== undefined && !this.#logId.equals(logId)) {
      this.#report({ code: 'ledger_differs', detail: 'The counters are of another log.' });
    }
  }

  #checkMissing(ledger: Ledger | undefined): void {
    const removedThrough = ledger?.removedThrough ?? 0;
    for (const { from, to, path, offset, isFileMissing } of this.#missing) {
      if (isFileMissing && from < removedThrough) {
        throw new Error('Old segments were removed meanwhile (--keep-raw). Run audit again.');
      }
      const bytes = `bytes ${from} to ${to} of the log`;
      if (isFileMissing) {
        const detail = `The raw bodies in ${bytes} are gone, though they were counted (near ${path}).`;
        this.#report({ code: 'raw_missing', detail });
      } else {
        const detail = `No sound record stands in ${bytes}, at byte ${offset} of ${path}: what was stored there is damaged.`;
        this.#report({ code: 'raw_damaged', detail });
      }
    }
  }

  #checkDeadLetters(from: LogPosition, through: LogPosition): void {
    const now = readDeadLetters(this.#database).filter(({ position }) => position < through);
    const isSame = now.every(({ position }) => this.#deadLetters.has(position));
    if (!isSame || now.length !== this.#deadLetters.size) {
      throw new Error('The dead letters changed meanwhile. Run audit again.');
    }
    if (this.#options.received !== undefined) return;
    for (const { position, batchId, reason } of now) {
      if (position < from || this.#metDeadLetters.has(position)) continue;
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
    const records = surveyLog({ ...this.#place, from, through });
    for (const difference of nameBatches(named, records)) this.#report(difference);
  }

  #report(difference: Difference): void {
    this.#differences++;
    this.#options.onDifference(difference);
  }
}

function isWithin({ receivedAt }: LogRecord, { from, to }: { from: number; to: number }): boolean {
  return receivedAt >= from && receivedAt < to;
}

function rawKeyOfRecord({ batchId, receivedAt }: LogRecord): string {
  return rawKeyOf(formatBatchId(batchId), receivedAt);
}
