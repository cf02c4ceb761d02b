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

/** Maximum number of missing rows; above it, the audit stops. */
const missingMax = 100_000;

/**
 * Compares the log's replayed batches with their rows in the database. If a row is lost, a repeated
 * replay counts twice.
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

  /** The number of replayed batches with a matching row. */
  get matched(): number {
    return this.#matched;
  }

  /** Those without a row: not counted yet, or lost. */
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

  /** Returns whether the batch has a row. */
  check({ batchId, position, rawKey }: NamedReplay): boolean {
    const row = this.#find.get(batchId);
    if (row === undefined) return false;
    const found = Number(row['position']);
    if (found === position) {
      this.#matched++;
      return true;
    }
    const detail = `${rawKey} is at byte ${position} of the log, but pipeline.db says byte ${found}: it is stored twice, or the row is wrong.`;
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

/** Like `finishKeyAudit`, for replayed batches. */
export function finishReplayAudit(
  database: DatabaseSync,
  { missing, matched, from, through, recordAt }: ReplaysOfSpan,
  report: (difference: Difference) => void,
): void {
  const audit = new ReplayAudit(database, report);
  for (const batch of missing) {
    if (audit.check(batch)) continue;
    const detail = `${batch.rawKey} was replayed from another installation, but pipeline.db does not list it: replayed again, it would count twice.`;
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
  const detail = `Listed as replayed in pipeline.db, but not in the raw store: ${names.text(unexplained)}. Replayed now, they would not be counted.`;
  report({ code: 'replayed_unexplained', detail });
}
