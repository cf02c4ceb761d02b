import { rawKeyOf } from '../../../domain/batch-id.ts';
import type { Difference } from '../../../pipeline/findings.ts';
import { redriveMarginMs } from '../ledger/settings.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import { pagesOf } from '../../../util/pages-of.ts';
import type { AuditRules } from './audit-rules.ts';
import { batchStates, chunkStates } from './audit-schema.ts';
import type { AuditDatabase } from './audit-database.ts';
import type { AuditSource } from './audit-source.ts';

/** A finding on a key: `batch` is its batch, `seen` the batch that its row names. */
export interface KeyIssue {
  readonly key: string;
  readonly code: 'key_missing' | 'key_differs' | 'key_unexplained';
  readonly batch: string | null;
  readonly seen: string | null;
}

/** A younger attempt may be in progress: it stores the body after the row of the key. */
const attemptMsMax = 15 * 60_000;
const keysAtOnce = 100;

/** The moment from which a row is kept, as in `DynamodbBatchRecords`. */
const keptSince = (row: string) => `coalesce(${row}.replayed_at, ${row}.received_at)`;

/**
 * The batch of each key. Of several batches with the key, the latest has it; one that was received
 * here comes before replayed ones, as in the intake. Parameter: the earliest time of receipt.
 */
const holders = `
  SELECT b.* FROM batch_keys b WHERE ${keptSince('b')} > :since AND NOT EXISTS (
    SELECT 1 FROM batch_keys o WHERE o.key = b.key AND ${keptSince('o')} > :since
    AND (o.replayed_at IS NOT NULL, -o.received_at, o.batch)
      < (b.replayed_at IS NOT NULL, -b.received_at, b.batch))`;

/**
 * Whether the row of a key is right. The items per message of a replayed batch are not compared: two
 * concurrent replays may differ in it. The row must not expire before its time.
 */
const isValid = `coalesce(k.batch = b.batch AND k.received_at = b.received_at
  AND k.body_sha256 = b.body_sha256 AND k.excluded = b.excluded
  AND (b.replayed_at IS NOT NULL OR k.items_per_message = b.items_per_message)
  AND k.expires_at * 1000.0 >= ${keptSince('b')} + :keep, 0)`;

interface KeyMismatch {
  readonly key: string;
  readonly batch: string;
  readonly received_at: number;
  readonly replayed_at: number | null;
  readonly seen: string | null;
  readonly seen_received_at: number | null;
  readonly seen_replayed_at: number | null;
  readonly is_valid: 0 | 1;
}

const mismatchesWhere = (condition: string) => `
  SELECT b.key, b.batch, b.received_at, b.replayed_at, k.batch AS seen,
    k.received_at AS seen_received_at, k.replayed_at AS seen_replayed_at, ${isValid} AS is_valid
  FROM (${holders}) b LEFT JOIN key_rows k ON k.key = b.key WHERE ${condition}`;
const nextMismatches = mismatchesWhere(
  'b.key > :after AND NOT is_valid ORDER BY b.key LIMIT :limit',
);
const oneMismatch = mismatchesWhere('b.key = :key AND NOT is_valid');

/**
 * Compares the idempotency keys of the raw bodies with the ledger. A key's row is written before the
 * body is stored, and belongs to the batch until it expires. A row that did not match when the ledger
 * was read is read again, now that the body is known; a mismatch then is a finding.
 */
export async function compareKeys(
  source: Pick<AuditSource, 'keyRowsOf'>,
  database: AuditDatabase,
  rules: Pick<AuditRules, 'now' | 'shortestRetentionMs' | 'width'>,
  isWhole: boolean,
): Promise<void> {
  const { shortestRetentionMs: keep, now, width } = rules;
  const limit = keysAtOnce * width;
  for (let after = ''; ;) {
    const mismatches = database.named<KeyMismatch>(nextMismatches, {
      ...{ keep, after, limit, since: now() - keep },
    });
    const last = mismatches.at(-1);
    if (last === undefined) break;
    after = last.key;
    const keys = mismatches.map(({ key }) => key);
    const pages = pagesOf(keys, keysAtOnce);
    const rows = (await inParallel(width, pages, (page) => source.keyRowsOf(page))).flat();
    for (const key of keys) database.run('DELETE FROM key_rows WHERE key = ?', key);
    database.addLedger(rows);
    // The current time: a row that has expired meanwhile is not missing.
    const since = now() - keep;
    const recent = now() - attemptMsMax;
    database.transaction(() => {
      for (const key of keys) {
        const [mismatch] = database.named<KeyMismatch>(oneMismatch, { key, keep, since });
        const code = mismatch && codeOf(mismatch, database, { recent, isWhole });
        if (mismatch === undefined || code === undefined) continue;
        database.run(insertIssue, key, code, mismatch.batch, mismatch.seen);
      }
    });
  }
  if (isWhole) addUnexplained(database, now() - keep);
}

/** Undefined if the key belongs to another batch. */
function codeOf(
  { key, seen, ...mismatch }: KeyMismatch,
  database: AuditDatabase,
  { recent, isWhole }: { recent: number; isWhole: boolean },
): KeyIssue['code'] | undefined {
  if (seen === null) return 'key_missing';
  if (seen === mismatch.batch) return 'key_differs';
  const isOthers = database.number(
    'SELECT count(*) FROM batch_keys WHERE batch = ? AND key <> ?',
    ...[seen, key],
  );
  if (isOthers > 0) return 'key_differs';
  const isLater = (mismatch.seen_received_at ?? 0) > mismatch.received_at;
  // A replayed batch gives its key to a later batch, and to one that was received here.
  if (mismatch.replayed_at !== null) {
    return isLater || mismatch.seen_replayed_at === null ? undefined : 'key_differs';
  }
  if (!isLater) return 'key_differs';
  const attemptedAt = mismatch.seen_replayed_at ?? mismatch.seen_received_at ?? 0;
  if (!isWhole || attemptedAt > recent) return undefined;
  const stored = `SELECT count(*) FROM batches WHERE batch = ? AND state <> ${batchStates.gone}`;
  return database.number(stored, seen) > 0 ? undefined : 'key_differs';
}

/**
 * Finds rows that name a batch which has another key, or which was complete and has no body. A row of
 * a batch that was never stored is no finding: its attempt ended before.
 */
function addUnexplained(database: AuditDatabase, since: number): void {
  database.run(
    `INSERT INTO key_issues SELECT k.key, 'key_unexplained', NULL, k.batch FROM key_rows k
     WHERE ${keptSince('k')} > ? AND NOT EXISTS (SELECT 1 FROM key_issues i WHERE i.key = k.key) AND (
       EXISTS (SELECT 1 FROM batch_keys o WHERE o.batch = k.batch AND o.key <> k.key)
       OR EXISTS (SELECT 1 FROM batch_rows r WHERE r.batch = k.batch)
         AND NOT EXISTS (SELECT 1 FROM dropped d WHERE d.batch = k.batch)
         AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.batch = k.batch AND b.state <> ${batchStates.gone}))`,
    since,
  );
}

const insertIssue = 'INSERT OR REPLACE INTO key_issues VALUES (?, ?, ?, ?)';

/** The findings on keys. The ledger has only hashes of keys, so that batches name them. */
export function* keyDifferences(database: AuditDatabase): Generator<Difference> {
  const sql = `SELECT i.*, b.received_at FROM key_issues i LEFT JOIN batch_keys b ON b.batch = i.batch
    ORDER BY i.code, b.received_at, i.key`;
  for (const issue of database.each<KeyIssue & { received_at: number | null }>(sql)) {
    const { code, key, batch, seen } = issue;
    if (code === 'key_unexplained' || batch === null) {
      const detail = `The ledger has the idempotency key key:${key} for batch ${seen ?? ''}, which has another key or whose raw body is missing.`;
      yield { code, detail };
      continue;
    }
    const rawKey = rawKeyOf(batch, issue.received_at ?? 0);
    const detail =
      code === 'key_missing'
        ? `The idempotency key of ${rawKey} is missing from the ledger before its expiry: a retry would be counted twice.`
        : `The row of the idempotency key of ${rawKey} in the ledger has other values.`;
    yield { code, detail, rawKeys: [rawKey] };
  }
}

const { recorded, forgotten, unrecorded } = chunkStates;
const isCounted = (row: string) => `EXISTS (SELECT 1 FROM chunks c
  WHERE c.batch = ${row}.batch AND c.state IN (${recorded}, ${forgotten}, ${unrecorded}))`;

/**
 * The findings on keys under which two batches were counted, as after the row of a key was lost. A batch
 * that was received here cannot have the key of another one, nor be the same as a replayed one with its
 * key, until the other's row expires or its attempt is given up, which is `redriveMarginMs` earlier.
 */
export function* reusedKeys(
  database: AuditDatabase,
  shortestRetentionMs: number,
): Generator<Difference> {
  const sql = `
    SELECT a.batch, a.received_at, o.batch AS other, o.received_at AS other_received_at
    FROM batch_keys a JOIN batch_keys o ON o.key = a.key AND o.batch <> a.batch
    WHERE a.replayed_at IS NULL
    AND iif(o.replayed_at IS NULL, (o.received_at, o.batch) > (a.received_at, a.batch),
      o.body_sha256 = a.body_sha256)
    AND abs(${keptSince('o')} - ${keptSince('a')}) < ? AND ${isCounted('a')} AND ${isCounted('o')}
    ORDER BY a.received_at, a.batch, o.batch`;
  type Row = { batch: string; received_at: number; other: string; other_received_at: number };
  for (const row of database.each<Row>(sql, shortestRetentionMs - redriveMarginMs)) {
    const rawKeys = [
      rawKeyOf(row.batch, row.received_at),
      rawKeyOf(row.other, row.other_received_at),
    ];
    const detail = `${rawKeys.join(' and ')} have the same idempotency key, and both are counted.`;
    yield { code: 'key_reused', detail, rawKeys };
  }
}
