import type { DatabaseSync } from 'node:sqlite';

import type { Increments } from '../../../domain/counter.ts';
import type { Difference } from '../../../pipeline/findings.ts';
import { isWithin, type ReceivedRange } from '../../../pipeline/store-admin.ts';
import type { RecordedDeadLetter } from '../store/progress-row.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import { scanLog, type Damage, type LogLocation } from '../log/scan-log.ts';
import { RecordCounter } from '../store/record-counter.ts';
import { rawKeyOfRecord } from '../log/record-identity.ts';
import { keyTable, replayTable, TableAudit } from './table-audit.ts';

/** A part of the log that is audited separately; it begins and ends where records or segments do. */
export interface Span {
  readonly from: LogPosition;
  readonly through: LogPosition;
}

export interface SpanAuditOptions {
  readonly place: LogLocation;
  /** The day rule of the log. */
  readonly dayZone: string;
  readonly database: DatabaseSync;
  /** All dead letters at the beginning of the audit. */
  readonly deadLetters: readonly RecordedDeadLetter[];
  /** Batches received at other times are skipped; undefined: no batch is skipped. */
  readonly received: ReceivedRange | undefined;
  /** Called with increments, periodically and at the end of a span. */
  readonly onIncrements: (increments: Increments) => void;
  readonly onDifference: (difference: Difference) => void;
  readonly onProgress: (bytes: number) => void;
}

/** The results of a span, apart from its increments. */
export type SpanFindings = ReturnType<SpanAudit['audit']>;

const progressBytes = 4 * 1024 * 1024;

/** Counts spans of the log again, and compares their records with the database. */
export class SpanAudit {
  readonly #options: SpanAuditOptions;
  readonly #counter: RecordCounter;
  readonly #deadLetters: ReadonlyMap<LogPosition, RecordedDeadLetter>;
  readonly #keys;
  readonly #replays;
  #found = noFindings();

  constructor(options: SpanAuditOptions) {
    this.#options = options;
    this.#counter = new RecordCounter(options.dayZone);
    this.#deadLetters = new Map(options.deadLetters.map((each) => [each.position, each]));
    this.#keys = new TableAudit(keyTable, options.database, options.onDifference);
    this.#replays = new TableAudit(replayTable, options.database, options.onDifference);
  }

  audit({ from, through }: Span) {
    const { place, received, onIncrements, onProgress } = this.#options;
    this.#found = noFindings();
    let toldAt = from;
    for (const found of scanLog({ ...place, from, through })) {
      if (found.damage !== undefined) this.#checkDamage(found.damage);
      else if (found.end > through) this.#reportInside(found.record, through);
      else if (isWithin(found.record.receivedAt, received)) this.#check(found.record);
      if (found.end - toldAt < progressBytes) continue;
      onProgress(Math.min(found.end, through) - toldAt);
      toldAt = Math.min(found.end, through);
    }
    onIncrements(this.#counter.takeIncrements());
    onProgress(through - toldAt);
    const [keys, replays] = [this.#keys.takeFindings(), this.#replays.takeFindings()];
    return { ...this.#found, keys, replays };
  }

  #check(record: LogRecord): void {
    this.#found.batches++;
    this.#found.items += record.accepted;
    this.#found.bytes += record.body.length;
    this.#keys.add(record);
    this.#replays.add(record);
    if (this.#deadLetters.has(record.position)) {
      this.#found.foundDeadLetters.push(record.position);
      return;
    }
    const reason = this.#counter.count(record);
    if (reason !== undefined) {
      const rawKey = rawKeyOfRecord(record);
      const detail = `${rawKey} cannot be counted (${reason}), and is not among the dead letters.`;
      this.#options.onDifference({ code: 'batch_not_counted', detail, rawKeys: [rawKey] });
    }
    if (this.#counter.isFull) this.#options.onIncrements(this.#counter.takeIncrements());
  }

  #checkDamage(damage: Damage): void {
    for (let at = damage.from; at < damage.to;) {
      const known = this.#deadLetters.get(at);
      if (known?.damagedThrough === undefined) {
        this.#found.missing.push({ ...damage, from: at });
        return;
      }
      this.#found.foundDeadLetters.push(at);
      at = known.damagedThrough;
    }
  }

  #reportInside(record: LogRecord, position: LogPosition): void {
    const rawKey = rawKeyOfRecord(record);
    const detail = `According to pipeline.db the log is counted through byte ${position}, which lies within ${rawKey}.`;
    this.#options.onDifference({ code: 'ledger_differs', detail, rawKeys: [rawKey] });
  }
}

function noFindings() {
  return {
    ...{ batches: 0, items: 0, bytes: 0 },
    /** Positions of dead letters that exist in the log. */
    foundDeadLetters: [] as LogPosition[],
    /** Damaged and missing ranges; the end of the audit decides which of them retention has removed. */
    missing: [] as Damage[],
  };
}
