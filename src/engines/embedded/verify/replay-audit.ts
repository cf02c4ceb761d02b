import type { DatabaseSync, StatementSync } from 'node:sqlite';

import type { Difference } from '../../../pipeline/audit.ts';
import { NameList } from '../store/known-batches.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import { replayedOf } from '../writer/processor.ts';
import { rawKeyOfRecord } from '../log/record-identity.ts';
import { selectReplayedPosition, type ReplayedRecord } from '../store/counter-store.ts';

export interface NamedReplay extends ReplayedRecord {
  readonly rawKey: string;
}

/** So many rows that are lost say no more than one that all are. */
const missingMax = 100_000;

/**
 * Compares the log's batches from other installations with the rows by which they are known: where
 * one is lost, the batch counts twice when it is replayed again.
 */
export class ReplayAudit {
  readonly #find: StatementSync;
  readonly #report: (difference: Difference) => void;
  readonly #missing: NamedReplay[] = [];
  #matched = 0;

  constructor(database: DatabaseSync, report: (difference: Difference) => void) {
    this.#report = report;
    this.#find = database.prepare(selectReplayedPosition);
  }

  /** How many were on record as they should be. */
  get matched(): number {
    return this.#matched;
  }

  /** Those that were not: not counted yet, or lost. */
  get missing(): readonly NamedReplay[] {
    return this.#missing;
  }

  add(record: LogRecord): void {
    const replayed = replayedOf(record);
    if (replayed === undefined) return;
    const batch = { ...replayed, rawKey: rawKeyOfRecord(record) };
    if (!this.check(batch)) this.#missing.push(batch);
    if (this.#missing.length > missingMax) {
      throw new Error(
        `More than ${missingMax} replayed batches of the log are not in the database. Run rebuild, which restores them.`,
      );
    }
  }

  /** Says whether the batch is on record. */
  check({ batchId, position, rawKey }: NamedReplay): boolean {
    const row = this.#find.get(batchId);
    if (row === undefined) return false;
    const found = Number(row['position']);
    if (found === position) {
      this.#matched++;
      return true;
    }
    const detail = `${rawKey} stands at byte ${position} of the log and is on record at byte ${found}: it is stored twice, or the record is wrong.`;
    this.#report({ code: 'replayed_differs', detail, rawKeys: [rawKey] });
    return true;
  }
}

interface ReplaysOfSpan {
  readonly missing: readonly NamedReplay[];
  readonly matched: number;
  readonly from: LogPosition;
  readonly through: LogPosition;
  readonly recordAt: (position: LogPosition) => LogRecord | undefined;
}

/** As `finishKeyAudit`. */
export function finishReplayAudit(
  database: DatabaseSync,
  { missing, matched, from, through, recordAt }: ReplaysOfSpan,
  report: (difference: Difference) => void,
): void {
  const audit = new ReplayAudit(database, report);
  for (const batch of missing) {
    if (audit.check(batch)) continue;
    const detail = `${batch.rawKey} came from another installation and is not on record as such: replayed again, it would count twice.`;
    report({ code: 'replayed_missing', detail, rawKeys: [batch.rawKey] });
  }
  const within = database
    .prepare('SELECT count(*) AS count FROM replayed_batches WHERE position >= ? AND position < ?')
    .get(from, through);
  const unexplained = Number(within?.['count']) - matched - audit.matched;
  if (unexplained <= 0) return;
  const names = new NameList();
  const rows = database
    .prepare(
      `SELECT batch_id, position FROM replayed_batches
       WHERE position >= ? AND position < ? ORDER BY position`,
    )
    .iterate(from, through);
  for (const { batch_id: id, position } of rows) {
    const record = recordAt(Number(position));
    if (record !== undefined && replayedOf(record)?.batchId === id) continue;
    names.add(`batch ${String(id)}`);
    if (names.isFull) break;
  }
  const detail = `On record as replayed, but not in the raw store: ${names.text(unexplained)}. Replayed now, they would not be counted.`;
  report({ code: 'replayed_unexplained', detail });
}
