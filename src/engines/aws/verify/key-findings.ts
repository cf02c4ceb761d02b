import { rawKeyOf } from '../../../domain/batch-id.ts';
import type { Difference } from '../../../pipeline/audit.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import type { AuditRules } from './audit-rules.ts';
import { batchStates } from './audit-schema.ts';
import type { AuditDatabase } from './audit-database.ts';
import type { AuditSource } from './audit-source.ts';

/** What is wrong with a key: `batch` is whose it is, `seen` what its row names. */
export interface KeyIssue {
  readonly key: string;
  readonly code: 'key_missing' | 'key_differs' | 'key_unexplained';
  readonly batch: string | null;
  readonly seen: string | null;
}

/** An attempt so recent may be under way still: its body comes after the row of its key. */
const attemptMsMax = 15 * 60_000;
const keysAtOnce = 100;

/** From when on a row is kept, as `DynamodbBatchRecords` has it. */
const keptSince = (row: string) => `coalesce(${row}.replayed_at, ${row}.received_at)`;

/**
 * The batch whose a key is: of several that came with it here the last one; one that came here first
 * before those from elsewhere, as the intake has it. Parameters: received since when.
 */
const holders = `
  SELECT b.* FROM batch_keys b WHERE ${keptSince('b')} > :since AND NOT EXISTS (
    SELECT 1 FROM batch_keys o WHERE o.key = b.key AND ${keptSince('o')} > :since
    AND (o.replayed_at IS NOT NULL, -o.received_at, o.batch)
      < (b.replayed_at IS NOT NULL, -b.received_at, b.batch))`;

/**
 * How many items went into a message is not looked at for batches from elsewhere: nobody joins an
 * attempt at one, and two at a time may have it differently. The row has to live as long as rows do.
 */
const isSound = `coalesce(k.batch = b.batch AND k.received_at = b.received_at
  AND k.body_sha256 = b.body_sha256 AND k.excluded = b.excluded
  AND (b.replayed_at IS NOT NULL OR k.items_per_message = b.items_per_message)
  AND k.expires_at * 1000.0 >= ${keptSince('b')} + :keep, 0)`;

interface Suspect {
  readonly key: string;
  readonly batch: string;
  readonly received_at: number;
  readonly replayed_at: number | null;
  readonly seen: string | null;
  readonly seen_received_at: number | null;
  readonly seen_replayed_at: number | null;
  readonly is_sound: 0 | 1;
}

const suspectsOf = (condition: string) => `
  SELECT b.key, b.batch, b.received_at, b.replayed_at, k.batch AS seen,
    k.received_at AS seen_received_at, k.replayed_at AS seen_replayed_at, ${isSound} AS is_sound
  FROM (${holders}) b LEFT JOIN key_rows k ON k.key = b.key WHERE ${condition}`;
const nextSuspects = suspectsOf('b.key > :after AND NOT is_sound ORDER BY b.key LIMIT :limit');
const oneSuspect = suspectsOf('b.key = :key AND NOT is_sound');

/**
 * Holds the idempotency keys of the batches that were read against the ledger. A key's row is written
 * before the body is stored, and stays the batch's as long as it is kept: whatever was not right when
 * the ledger was read is looked up once more, now that the body is known. Notes what is wrong then.
 */
export async function compareKeys(
  source: Pick<AuditSource, 'keyRowsOf'>,
  scratch: AuditDatabase,
  rules: Pick<AuditRules, 'now' | 'leastKeepMs' | 'width'>,
  isWhole: boolean,
): Promise<void> {
  const { leastKeepMs: keep, now, width } = rules;
  const limit = keysAtOnce * width;
  for (let after = ''; ;) {
    const suspects = scratch.named<Suspect>(nextSuspects, {
      ...{ keep, after, limit, since: now() - keep },
    });
    const last = suspects.at(-1);
    if (last === undefined) break;
    after = last.key;
    const keys = suspects.map(({ key }) => key);
    const pages = Array.from({ length: Math.ceil(keys.length / keysAtOnce) }, (_, page) =>
      keys.slice(page * keysAtOnce, (page + 1) * keysAtOnce),
    );
    const rows = (await inParallel(width, pages, (page) => source.keyRowsOf(page))).flat();
    for (const key of keys) scratch.run('DELETE FROM key_rows WHERE key = ?', key);
    scratch.addLedger(rows);
    // By the clock as it is now: a row that has ended meanwhile was not lost.
    const since = now() - keep;
    const recent = now() - attemptMsMax;
    scratch.transaction(() => {
      for (const key of keys) {
        const [suspect] = scratch.named<Suspect>(oneSuspect, { key, keep, since });
        const code = suspect && codeOf(suspect, scratch, { recent, isWhole });
        if (code === undefined) continue;
        note(scratch, { key, code, batch: suspect?.batch ?? null, seen: suspect?.seen ?? null });
      }
    });
  }
  if (isWhole) noteUnexplained(scratch, now() - keep);
}

/** Undefined where the key is rightly another batch's. */
function codeOf(
  { key, seen, ...suspect }: Suspect,
  scratch: AuditDatabase,
  { recent, isWhole }: { recent: number; isWhole: boolean },
): KeyIssue['code'] | undefined {
  if (seen === null) return 'key_missing';
  if (seen === suspect.batch) return 'key_differs';
  const isOthers = scratch.number(
    'SELECT count(*) FROM batch_keys WHERE batch = ? AND key <> ?',
    ...[seen, key],
  );
  if (isOthers > 0) return 'key_differs';
  const isLater = (suspect.seen_received_at ?? 0) > suspect.received_at;
  // A batch from elsewhere leaves its key to a later one, and to one that came here under it.
  if (suspect.replayed_at !== null) {
    return isLater || suspect.seen_replayed_at === null ? undefined : 'key_differs';
  }
  if (!isLater) return 'key_differs';
  const attemptedAt = suspect.seen_replayed_at ?? suspect.seen_received_at ?? 0;
  if (!isWhole || attemptedAt > recent) return undefined;
  const stored = `SELECT count(*) FROM batches WHERE batch = ? AND state <> ${batchStates.gone}`;
  return scratch.number(stored, seen) > 0 ? undefined : 'key_differs';
}

/**
 * Rows that name a batch which came under another key, or which was whole and has no body any more.
 * A batch that was never stored is not looked for: its attempt was given up.
 */
function noteUnexplained(scratch: AuditDatabase, since: number): void {
  scratch.run(
    `INSERT INTO key_issues SELECT k.key, 'key_unexplained', NULL, k.batch FROM key_rows k
     WHERE ${keptSince('k')} > ? AND NOT EXISTS (SELECT 1 FROM key_issues i WHERE i.key = k.key) AND (
       EXISTS (SELECT 1 FROM batch_keys o WHERE o.batch = k.batch AND o.key <> k.key)
       OR EXISTS (SELECT 1 FROM batch_rows r WHERE r.batch = k.batch)
         AND NOT EXISTS (SELECT 1 FROM dropped d WHERE d.batch = k.batch)
         AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.batch = k.batch AND b.state <> ${batchStates.gone}))`,
    since,
  );
}

function note(scratch: AuditDatabase, { key, code, batch, seen }: KeyIssue): void {
  scratch.run('INSERT OR REPLACE INTO key_issues VALUES (?, ?, ?, ?)', key, code, batch, seen);
}

/** Differences of keys. Their clear text is known to nobody: they are named by their batches. */
export function* keyDifferences(scratch: AuditDatabase): Generator<Difference> {
  const sql = `SELECT i.*, b.received_at FROM key_issues i LEFT JOIN batch_keys b ON b.batch = i.batch
    ORDER BY i.code, b.received_at, i.key`;
  for (const issue of scratch.each<KeyIssue & { received_at: number | null }>(sql)) {
    const { code, key, batch, seen } = issue;
    if (code === 'key_unexplained' || batch === null) {
      const detail = `The ledger has the idempotency key key:${key} for batch ${seen ?? ''}, which did not come with it or whose raw body is gone.`;
      yield { code, detail };
      continue;
    }
    const rawKey = rawKeyOf(batch, issue.received_at ?? 0);
    const detail =
      code === 'key_missing'
        ? `The idempotency key of ${rawKey} is not in the ledger, though it has not expired: a retry would count twice.`
        : `What the ledger has under the idempotency key of ${rawKey} is not what it came with.`;
    yield { code, detail, rawKeys: [rawKey] };
  }
}
