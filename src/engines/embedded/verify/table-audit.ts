import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite';

import { rawKeyOf, type BatchId } from '../../../domain/batch-id.ts';
import type { Difference } from '../../../pipeline/findings.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import type { KeyedBatch } from '../store/counter-store.ts';
import { NameList } from '../store/batches-in-ranges.ts';
import { mayKeyBeExpired, type ProgressRow } from '../store/progress-row.ts';
import { keyOf, replayedOf } from '../writer/processor.ts';

/** A row of an audited table, as it must be according to its record. */
interface AuditedRow {
  readonly batchId: BatchId;
  readonly receivedAt: number;
  readonly position: LogPosition;
}

type StoredRow = Record<string, SQLOutputValue>;

/** A table of the database whose rows follow from records of the log. */
interface AuditedTable<Row extends AuditedRow> {
  readonly name: string;
  /** The beginning of the codes of its differences. */
  readonly code: 'key' | 'replayed';
  readonly plural: string;
  readonly rowOf: (record: LogRecord) => Row | undefined;
  /** SQL that finds a row by what `keyOf` returns. */
  readonly find: string;
  readonly keyOf: (row: Row) => SQLInputValue[];
  /** Why the stored row does not match, if it does not. */
  readonly mismatch: (row: Row, stored: StoredRow) => string | undefined;
  readonly mayBeExpired: (progress: ProgressRow | undefined, row: Row) => boolean;
  readonly missingDetail: (row: Row) => string;
  /** Whether the stored row belongs to this record. */
  readonly isOf: (record: LogRecord, stored: StoredRow) => boolean;
  /** The stored row in a list of names, and the raw key of its batch, if that is known. */
  readonly nameOf: (stored: StoredRow) => { readonly name: string; readonly rawKey?: string };
  readonly unexplainedDetail: (count: number, names: string) => string;
}

/** If an idempotency key is lost, a retry becomes a new batch and counts twice. */
export const keyTable: AuditedTable<KeyedBatch> = {
  name: 'idempotency_keys',
  code: 'key',
  plural: 'idempotency keys',
  rowOf: keyOf,
  find: 'SELECT * FROM idempotency_keys WHERE caller = ? AND key = ?',
  keyOf: ({ caller, key }) => [caller, key],
  mismatch({ key, batchId, receivedAt, bodySha256, position }, stored) {
    // A later batch may have the key.
    if (Number(stored['position']) > position) return undefined;
    const isSame =
      Number(stored['position']) === position &&
      stored['batch_id'] === batchId &&
      Number(stored['received_at']) === receivedAt &&
      Buffer.compare(stored['body_sha256'] as Uint8Array, bodySha256) === 0;
    if (isSame) return undefined;
    return `The row of the idempotency key ${JSON.stringify(key)} does not match ${rawKeyOf(batchId, receivedAt)}.`;
  },
  mayBeExpired: mayKeyBeExpired,
  missingDetail: ({ key, batchId, receivedAt }) =>
    `The idempotency key ${JSON.stringify(key)} of ${rawKeyOf(batchId, receivedAt)} is missing from pipeline.db, although it has not expired: a retry would count twice.`,
  isOf: ({ caller, idempotency }, stored) =>
    caller === stored['caller'] && idempotency?.key === stored['key'],
  nameOf({ key, batch_id: id, received_at: receivedAt }) {
    const rawKey = rawKeyOf(String(id), Number(receivedAt));
    return { name: `${JSON.stringify(key)} of ${rawKey}`, rawKey };
  },
  unexplainedDetail: (count, names) =>
    count === 1
      ? `1 idempotency key names a batch that the raw store does not have: ${names}.`
      : `${count} idempotency keys name batches that the raw store does not have: ${names}.`,
};

/** If the row of a replayed batch is lost, a repeated replay counts twice. */
export const replayTable: AuditedTable<AuditedRow> = {
  name: 'replayed_batches',
  code: 'replayed',
  plural: 'replayed batches',
  rowOf(record) {
    const replayed = replayedOf(record);
    return replayed && { ...replayed, receivedAt: record.receivedAt };
  },
  find: 'SELECT * FROM replayed_batches WHERE batch_id = ?',
  keyOf: ({ batchId }) => [batchId],
  mismatch({ batchId, receivedAt, position }, stored) {
    const found = Number(stored['position']);
    if (found === position) return undefined;
    return `${rawKeyOf(batchId, receivedAt)} is at byte ${position} of the log, but pipeline.db has byte ${found}: it is stored twice, or the row is wrong.`;
  },
  mayBeExpired: () => false,
  missingDetail: ({ batchId, receivedAt }) =>
    `${rawKeyOf(batchId, receivedAt)} was replayed from another installation, but pipeline.db does not list it: replayed again, it would count twice.`,
  isOf: ({ originId }, stored) => originId === stored['batch_id'],
  nameOf: (stored) => ({ name: `batch ${String(stored['batch_id'])}` }),
  unexplainedDetail: (_count, names) =>
    `Listed as replayed in pipeline.db, but not in the raw store: ${names}. Replayed now, they would not be counted.`,
};

/** The findings of a table's audit in a part of the log. */
interface TableFindings<Row> {
  /** Rows that were not found: they are expired, not counted yet, or lost. */
  readonly missing: readonly Row[];
  /** The number of rows that belong to their record. */
  readonly matched: number;
}

interface AuditedLogPart {
  readonly from: LogPosition;
  readonly through: LogPosition;
  readonly progress: ProgressRow | undefined;
  readonly recordAt: (position: LogPosition) => LogRecord | undefined;
}

/** Maximum number of missing rows held for the second lookup; above it, the audit stops. */
const missingMax = 100_000;

/** Compares the log's records with the rows of a table. */
export class TableAudit<Row extends AuditedRow> {
  readonly #table: AuditedTable<Row>;
  readonly #database: DatabaseSync;
  readonly #report: (difference: Difference) => void;
  readonly #find: StatementSync;
  #missing: Row[] = [];
  #matched = 0;

  constructor(
    table: AuditedTable<Row>,
    database: DatabaseSync,
    report: (difference: Difference) => void,
  ) {
    this.#table = table;
    this.#database = database;
    this.#report = report;
    this.#find = database.prepare(table.find);
  }

  /** @throws if too many rows are missing to report each of them. */
  add(record: LogRecord): void {
    const row = this.#table.rowOf(record);
    if (row === undefined || this.#check(row)) return;
    this.#missing.push(row);
    this.#checkNumber(this.#missing.length);
  }

  /** The findings since the last call. */
  takeFindings(): TableFindings<Row> {
    const findings = { missing: this.#missing, matched: this.#matched };
    this.#missing = [];
    this.#matched = 0;
    return findings;
  }

  /**
   * Finishes the audit, in one state of the database: looks up missing rows again, and reports rows
   * in the database that no record between the two positions explains.
   */
  finish(findings: readonly TableFindings<Row>[], part: AuditedLogPart): void {
    const { code, mayBeExpired, missingDetail } = this.#table;
    const missing = findings.flatMap((each) => each.missing);
    this.#checkNumber(missing.length);
    for (const row of missing) {
      if (mayBeExpired(part.progress, row) || this.#check(row)) continue;
      const rawKeys = [rawKeyOf(row.batchId, row.receivedAt)];
      this.#report({ code: `${code}_missing`, detail: missingDetail(row), rawKeys });
    }
    const matched = findings.reduce((sum, each) => sum + each.matched, this.#matched);
    this.#reportUnexplained(matched, part);
  }

  /** Returns whether there is a row, of this batch or of another one. */
  #check(row: Row): boolean {
    const stored = this.#find.get(...this.#table.keyOf(row));
    if (stored === undefined) return false;
    if (Number(stored['position']) === row.position) this.#matched++;
    const detail = this.#table.mismatch(row, stored);
    if (detail === undefined) return true;
    const rawKeys = [rawKeyOf(row.batchId, row.receivedAt)];
    this.#report({ code: `${this.#table.code}_differs`, detail, rawKeys });
    return true;
  }

  #checkNumber(missing: number): void {
    if (missing <= missingMax) return;
    throw new Error(
      `More than ${missingMax} ${this.#table.plural} of the log are not in the database. Run rebuild, which restores them.`,
    );
  }

  #reportUnexplained(matched: number, { from, through, recordAt }: AuditedLogPart): void {
    const { name: table, code, isOf, nameOf, unexplainedDetail } = this.#table;
    const within = `FROM ${table} WHERE position >= ? AND position < ?`;
    const row = this.#database.prepare(`SELECT count(*) AS count ${within}`).get(from, through);
    const unexplained = Number(row?.['count']) - matched;
    if (unexplained <= 0) return;
    const names = new NameList();
    const rawKeys: string[] = [];
    const rows = this.#database.prepare(`SELECT * ${within} ORDER BY position`);
    for (const stored of rows.iterate(from, through)) {
      const record = recordAt(Number(stored['position']));
      if (record !== undefined && isOf(record, stored)) continue;
      const { name, rawKey } = nameOf(stored);
      names.add(name);
      if (rawKey !== undefined) rawKeys.push(rawKey);
      if (names.isFull) break;
    }
    const detail = unexplainedDetail(unexplained, names.text(unexplained));
    const named = rawKeys.length > 0 && { rawKeys };
    this.#report({ code: `${code}_unexplained`, detail, ...named });
  }
}
