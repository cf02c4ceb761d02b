import { inParallel } from '../../../util/in-parallel.ts';
import type { DateRange } from '../../../pipeline/store-admin.ts';
import type { AuditReader, AuditRules } from './audit-rules.ts';
import type { AuditDatabase } from './audit-database.ts';
import { snapshotChunksMax, type CounterKey, type AuditSource } from './audit-source.ts';

/** A counter to compare with the chunks. */
interface Candidate extends CounterKey {
  readonly id: number;
}

/** A reading of a counter in one round. */
interface Observation {
  readonly candidate: Candidate;
  readonly counted: number;
  /** The sum of the chunks that certainly had a dedup record at that moment. */
  readonly least: number;
  /** Whether `least` is exact, except for chunks that the audit does not know yet. */
  readonly isExact: boolean;
  /** Whether the row has a number and the names of its key. */
  readonly isValid: boolean;
}

/** How often to read counters that are being written to. */
const roundsMax = 12;

/**
 * Compares each counter that may differ with the chunks, while the system keeps counting. One
 * transaction reads the counter and the dedup records of those of its chunks that had none at the
 * last reading: the counter must be the sum of the chunks with a dedup record. A later listing finds
 * chunks that were counted by then and are unknown, since a body is stored before it is counted: only
 * a counter that no such body increments is a finding.
 */
export async function settleCounters(
  reader: AuditReader,
  source: AuditSource,
  database: AuditDatabase,
  { width }: Pick<AuditRules, 'width'>,
  dates: DateRange,
): Promise<void> {
  let left = candidatesOf(database, dates);
  for (let round = 1; left.length > 0; round++) {
    await reader.refreshDedupRecords();
    await reader.catchUp(false);
    const observations = await inParallel(width, left, (each) => observe(each, source, database));
    const doubtful = observations.filter(
      ({ isExact, isValid, counted, least }) => !isExact || !isValid || counted !== least,
    );
    if (doubtful.length === 0) return;
    await reader.refreshDedupRecords();
    const touched = new Set([...(await reader.catchUp(false)), ...(await reader.catchUp(true))]);
    left = [];
    for (const observation of doubtful) {
      const isSettled = settle(observation, touched, database);
      if (isSettled) continue;
      if (round < roundsMax) left.push(observation.candidate);
      else settleUnfinished(observation, database);
    }
  }
}

function candidatesOf(database: AuditDatabase, { from, to }: DateRange): Candidate[] {
  return database.all(
    `SELECT id, date, type_state AS typeState FROM counters
     LEFT JOIN counted ON counted.counter = id LEFT JOIN expected ON expected.counter = id
     WHERE date BETWEEN ? AND ? AND (
       coalesce(counted.count, 0) <> coalesce(expected.count, 0)
       OR counted.counter IS NOT NULL AND (counted.count IS NULL OR NOT counted.is_named_right)
       OR EXISTS (SELECT 1 FROM open_increments o WHERE o.counter = id))
     ORDER BY date, type_state`,
    ...[from, to],
  );
}

async function observe(
  candidate: Candidate,
  source: AuditSource,
  database: AuditDatabase,
): Promise<Observation> {
  const { id } = candidate;
  const open = database.openChunksOf(id);
  const isExact = open.length <= snapshotChunksMax;
  const { counter, recorded } = await source.snapshot(candidate, isExact ? open : []);
  database.setCounted(id, counter);
  let least = expectedOf(database, id);
  for (const [at, chunk] of open.entries()) {
    if (recorded[at] !== true) continue;
    const sql = 'SELECT count FROM open_increments WHERE counter = ? AND chunk = ?';
    least += database.number(sql, id, chunk.id);
  }
  // A row without a number is a finding.
  const counted = counter === undefined ? 0 : counter.count;
  const isValid = !Number.isNaN(counted) && counter?.isNamedRight !== false;
  return { candidate, counted, least, isExact, isValid };
}

/**
 * The problem of a counter: it `differs` by a known amount, or `differs_at_least`; it is
 * `misnamed`, with another type or state than its key; `broken`, without a number; or `unsettled`,
 * because it changed during every read.
 */
export type FindingKind = 'differs' | 'differs_at_least' | 'misnamed' | 'broken' | 'unsettled';

/** Records a finding if there is one. Returns false if the counter must be read again. */
function settle(
  { candidate: { id }, counted, least, isExact, isValid }: Observation,
  touched: ReadonlySet<number>,
  database: AuditDatabase,
): boolean {
  // Dedup records were read before and after: the true sum at the moment lies between the two.
  const most = isExact ? least : expectedOf(database, id);
  if (touched.has(id) || least !== most) return false;
  if (counted === least && isValid) return true;
  const isBroken = Number.isNaN(counted);
  const kind = isBroken ? 'broken' : counted === least ? 'misnamed' : 'differs';
  database.run(insertFinding, id, kind, counted, least, isBroken ? 0 : counted - least);
  return true;
}

function settleUnfinished(
  { candidate: { id }, counted, least }: Observation,
  database: AuditDatabase,
): void {
  if (Number.isNaN(counted)) {
    database.run(insertFinding, id, 'broken', counted, least, 0);
    return;
  }
  // Counting is never undone, so a counter below the sum of its dedup records is a finding in any
  // case.
  const kind = counted < least ? 'differs_at_least' : 'unsettled';
  database.run(insertFinding, id, kind, counted, least, counted - least);
}

const insertFinding = 'INSERT OR REPLACE INTO findings VALUES (?, ?, ?, ?, ?)';

function expectedOf(database: AuditDatabase, counter: number): number {
  return database.number('SELECT count FROM expected WHERE counter = ?', counter);
}
