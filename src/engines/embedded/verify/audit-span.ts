import type { DatabaseSync } from 'node:sqlite';

import type { Increments } from '../../../domain/counter.ts';
import type { Difference } from '../../../pipeline/audit.ts';
import { KeyAudit } from './key-audit.ts';
import type { RecordedDeadLetter } from '../store/progress-row.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import { scanLog, type Damage, type LogLocation } from '../log/scan-log.ts';
import { RecordCounter } from '../store/record-counter.ts';
import { rawKeyOfRecord } from '../log/record-identity.ts';
import { ReplayAudit, type NamedReplay } from './replay-audit.ts';
import type { KeyedBatch } from '../store/counter-store.ts';

/** Times of receipt in milliseconds since 1970, without `to`. */
export interface ReceivedRange {
  readonly from: number;
  readonly to: number;
}

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
  /** Batches received at other times are skipped; undefined: none are. */
  readonly received: ReceivedRange | undefined;
  /** Called with increments, now and then and at the end of a span. */
  readonly onIncrements: (increments: Increments) => void;
  readonly onDifference: (difference: Difference) => void;
  readonly onProgress: (bytes: number) => void;
}

/** The results of a span, apart from its increments. */
export interface SpanFindings {
  readonly batches: number;
  readonly items: number;
  readonly bytes: number;
  /** Positions of dead letters that exist in the log. */
  readonly foundDeadLetters: readonly LogPosition[];
  /** Damaged and missing ranges; the end of the audit decides which of them retention has removed. */
  readonly missing: readonly Damage[];
  /** The number of idempotency keys that match, and those that were not found. */
  readonly matchedKeys: number;
  readonly missingKeys: readonly KeyedBatch[];
  /** The same of replayed batches. */
  readonly matchedReplays: number;
  readonly missingReplays: readonly NamedReplay[];
}

const progressBytes = 4 * 1024 * 1024;

/** Counts spans of the log again, and compares their records with the database. */
export class SpanAudit {
  readonly #options: SpanAuditOptions;
  readonly #counter: RecordCounter;
  readonly #deadLetters: ReadonlyMap<LogPosition, RecordedDeadLetter>;
  #keys: KeyAudit;
  #replays: ReplayAudit;
  #foundDeadLetters: LogPosition[] = [];
  #missing: Damage[] = [];
  #batches = 0;
  #items = 0;
  #bytes = 0;

  constructor(options: SpanAuditOptions) {
    this.#options = options;
    this.#counter = new RecordCounter(options.dayZone);
    this.#deadLetters = new Map(options.deadLetters.map((each) => [each.position, each]));
    this.#keys = new KeyAudit(options.database, options.onDifference);
    this.#replays = new ReplayAudit(options.database, options.onDifference);
  }

  audit({ from, through }: Span): SpanFindings {
    const { place, received, onIncrements, onProgress } = this.#options;
    let toldAt = from;
    for (const found of scanLog({ ...place, from, through })) {
      if (found.damage !== undefined) this.#checkDamage(found.damage);
      else if (found.end > through) this.#reportInside(found.record, through);
      else if (received === undefined || isWithin(found.record, received))
        this.#check(found.record);
      if (found.end - toldAt < progressBytes) continue;
      onProgress(Math.min(found.end, through) - toldAt);
      toldAt = Math.min(found.end, through);
    }
    onIncrements(this.#counter.takeIncrements());
    onProgress(through - toldAt);
    return this.#takeFindings();
  }

  #takeFindings(): SpanFindings {
    const findings = {
      ...{ batches: this.#batches, items: this.#items, bytes: this.#bytes },
      ...{ foundDeadLetters: this.#foundDeadLetters, missing: this.#missing },
      ...{ matchedKeys: this.#keys.matched, missingKeys: this.#keys.missing },
      ...{ matchedReplays: this.#replays.matched, missingReplays: this.#replays.missing },
    };
    const { database, onDifference } = this.#options;
    this.#keys = new KeyAudit(database, onDifference);
    this.#replays = new ReplayAudit(database, onDifference);
    this.#foundDeadLetters = [];
    this.#missing = [];
    this.#batches = this.#items = this.#bytes = 0;
    return findings;
  }

  #check(record: LogRecord): void {
    this.#batches++;
    this.#items += record.accepted;
    this.#bytes += record.body.length;
    this.#keys.add(record);
    this.#replays.add(record);
    if (this.#deadLetters.has(record.position)) {
      this.#foundDeadLetters.push(record.position);
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
        this.#missing.push({ ...damage, from: at });
        return;
      }
      this.#foundDeadLetters.push(at);
      at = known.damagedThrough;
    }
  }

  #reportInside(record: LogRecord, position: LogPosition): void {
    const rawKey = rawKeyOfRecord(record);
    const detail = `According to pipeline.db the log is counted through byte ${position}, which lies within ${rawKey}.`;
    this.#options.onDifference({ code: 'ledger_differs', detail, rawKeys: [rawKey] });
  }
}

function isWithin({ receivedAt }: LogRecord, { from, to }: ReceivedRange): boolean {
  return receivedAt >= from && receivedAt < to;
}
