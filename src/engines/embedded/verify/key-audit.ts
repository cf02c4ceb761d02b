import type { DatabaseSync, StatementSync } from 'node:sqlite';

import { rawKeyOf } from '../../../domain/batch-id.ts';
import type { Difference } from '../../../pipeline/audit.ts';
import { NameList } from '../store/known-batches.ts';
import { mayKeyBeExpired, type ProgressRow } from '../store/progress-row.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import { keyOf } from '../writer/processor.ts';
import type { KeyedBatch } from '../store/counter-store.ts';

/** Maximum number of missing keys held for the second lookup; above it, the audit stops. */
const missingKeysMax = 100_000;

/**
 * Compares the idempotency keys of the log's records with those in the database. If a key is lost, a
 * retry becomes a new batch and counts twice.
 */
export class KeyAudit {
  readonly #find: StatementSync;
  readonly #report: (difference: Difference) => void;
  readonly #missing: KeyedBatch[] = [];
  #matched = 0;

  constructor(database: DatabaseSync, report: (difference: Difference) => void) {
    this.#report = report;
    this.#find = database.prepare(
      'SELECT body_sha256, batch_id, received_at, position FROM idempotency_keys WHERE caller = ? AND key = ?',
    );
  }

  /** The number of keys that belong to their record. */
  get matched(): number {
    return this.#matched;
  }

  /** Keys that were not found: expired, not counted yet, or lost. */
  get missing(): readonly KeyedBatch[] {
    return this.#missing;
  }

  add(record: LogRecord): void {
    const keyed = keyOf(record);
    if (keyed === undefined) return;
    if (!this.check(keyed)) this.#missing.push(keyed);
    checkMissingKeys(this.#missing.length);
  }

  /** Returns whether the key exists, of this batch or of a later one. */
  check({ caller, key, batchId, receivedAt, bodySha256, position }: KeyedBatch): boolean {
    const row = this.#find.get(caller, key);
    if (row === undefined) return false;
    const found = Number(row['position']);
    if (found === position) {
      this.#matched++;
      const isSame =
        row['batch_id'] === batchId &&
        Number(row['received_at']) === receivedAt &&
        Buffer.compare(row['body_sha256'] as Uint8Array, bodySha256) === 0;
      if (!isSame) this.#reportOther(batchId, receivedAt, key);
    } else if (found < position) {
      this.#reportOther(batchId, receivedAt, key);
    }
    return true;
  }

  #reportOther(batchId: string, receivedAt: number, key: string): void {
    const rawKey = rawKeyOf(batchId, receivedAt);
    const detail = `The row of the idempotency key ${JSON.stringify(key)} does not match ${rawKey}.`;
    this.#report({ code: 'key_differs', detail, rawKeys: [rawKey] });
  }
}

/** @throws if too many keys are missing to report each of them. */
export function checkMissingKeys(lost: number): void {
  if (lost <= missingKeysMax) return;
  throw new Error(
    `More than ${missingKeysMax} idempotency keys of the log are not in the database. Run rebuild, which restores them.`,
  );
}

interface KeysOfSpan {
  readonly missing: readonly KeyedBatch[];
  readonly matched: number;
  readonly progress: ProgressRow | undefined;
  readonly from: LogPosition;
  readonly through: LogPosition;
  readonly recordAt: (position: LogPosition) => LogRecord | undefined;
}

/**
 * Finishes the audit of keys, in one state of the database: looks up missing keys again, and reports
 * keys in the database that no record between the two positions explains.
 */
export function finishKeyAudit(
  database: DatabaseSync,
  { missing, matched, progress, from, through, recordAt }: KeysOfSpan,
  report: (difference: Difference) => void,
): void {
  const audit = new KeyAudit(database, report);
  for (const keyed of missing) {
    if (mayKeyBeExpired(progress, keyed) || audit.check(keyed)) continue;
    const rawKey = rawKeyOf(keyed.batchId, keyed.receivedAt);
    const detail = `The idempotency key ${JSON.stringify(keyed.key)} of ${rawKey} is not kept, though it has not expired: a retry would count twice.`;
    report({ code: 'key_missing', detail, rawKeys: [rawKey] });
  }
  const within = database
    .prepare('SELECT count(*) AS count FROM idempotency_keys WHERE position >= ? AND position < ?')
    .get(from, through);
  const unexplained = Number(within?.['count']) - matched - audit.matched;
  if (unexplained <= 0) return;
  const names = new NameList();
  const rawKeys: string[] = [];
  const rows = database.prepare(keysByPosition).iterate(from, through);
  for (const { caller, key, batch_id: id, received_at: receivedAt, position } of rows) {
    const record = recordAt(Number(position));
    const own = record && keyOf(record);
    if (own !== undefined && own.caller === caller && own.key === key) continue;
    const rawKey = rawKeyOf(String(id), Number(receivedAt));
    names.add(`${JSON.stringify(key)} of ${rawKey}`);
    rawKeys.push(rawKey);
    if (names.isFull) break;
  }
  const what =
    unexplained === 1
      ? 'idempotency key names a batch that the raw store does not have'
      : 'idempotency keys name batches that the raw store does not have';
  const detail = `${unexplained} ${what}: ${names.text(unexplained)}.`;
  report({ code: 'key_unexplained', detail, rawKeys });
}

const keysByPosition = `
  SELECT caller, key, batch_id, received_at, position FROM idempotency_keys
    WHERE position >= ? AND position < ? ORDER BY position`;
