import { inParallel } from '../../../util/in-parallel.ts';
import type { AuditReader, AuditRules } from './audit-rules.ts';
import type { AuditDatabase } from './audit-database.ts';
import { snapshotChunksMax, type CounterKey, type AuditSource } from './audit-source.ts';

/** A counter that is to be held against the chunks. */
interface Candidate extends CounterKey {
  readonly id: number;
}

/** What was seen of one in a round. */
interface Sighting {
  readonly candidate: Candidate;
  readonly counted: number;
  /** What the chunks that were surely marked at that moment come to. */
  readonly least: number;
  /** Whether that is exact, but for chunks that are not known yet. */
  readonly isExact: boolean;
  /** Whether the row is one as we write it. */
  readonly isSound: boolean;
}

export interface DateRange {
  readonly from: string;
  readonly to: string;
}

/** So often it is looked again at counters that others write to. */
const roundsMax = 12;

/**
 * Holds each counter that may differ against the chunks, beside a system that goes on counting. One
 * transaction reads the counter and the marks of all chunks that touch it and were not marked when
 * last looked: the counter must be what the marked ones come to. What is counted by then and not
 * known is found by a listing that begins later, since a body is stored before it is counted: only a
 * counter that no such body touches is said to differ. Writes a verdict for each that does.
 */
export async function settleCounters(
  reader: AuditReader,
  source: AuditSource,
  scratch: AuditDatabase,
  { width }: Pick<AuditRules, 'width'>,
  dates: DateRange,
): Promise<void> {
  let left = candidatesOf(scratch, dates);
  for (let round = 1; left.length > 0; round++) {
    await reader.refreshMarks();
    await reader.catchUp(false);
    const seen = await inParallel(width, left, (each) => look(each, source, scratch));
    const suspects = seen.filter(
      ({ isExact, isSound, counted, least }) => !isExact || !isSound || counted !== least,
    );
    if (suspects.length === 0) return;
    await reader.refreshMarks();
    const touched = new Set([...(await reader.catchUp(false)), ...(await reader.catchUp(true))]);
    left = [];
    for (const sighting of suspects) {
      const isSettled = judge(sighting, touched, scratch);
      if (isSettled) continue;
      if (round < roundsMax) left.push(sighting.candidate);
      else giveUp(sighting, scratch);
    }
  }
}

function candidatesOf(scratch: AuditDatabase, { from, to }: DateRange): Candidate[] {
  return scratch.all(
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

async function look(
  candidate: Candidate,
  source: AuditSource,
  scratch: AuditDatabase,
): Promise<Sighting> {
  const { id } = candidate;
  const open = scratch.openChunksOf(id);
  const isExact = open.length <= snapshotChunksMax;
  const { counter, marked } = await source.snapshot(candidate, isExact ? open : []);
  scratch.setCounted(id, counter);
  let least = expectedOf(scratch, id);
  for (const [at, chunk] of open.entries()) {
    if (marked[at] !== true) continue;
    const sql = 'SELECT count FROM open_increments WHERE counter = ? AND chunk = ?';
    least += scratch.number(sql, id, chunk.id);
  }
  // A row without a number counts nothing, and has to be named.
  const counted = counter === undefined ? 0 : counter.count;
  const isSound = !Number.isNaN(counted) && counter?.isNamedRight !== false;
  return { candidate, counted, least, isExact, isSound };
}

/**
 * What becomes of a counter: it `differs` by exactly so much, or `differs_at_least`; it is
 * `misnamed`, with a type and state that are not its key's; `broken`, without a number; or
 * `unsettled`, since others wrote to it whenever it was looked at.
 */
export type VerdictKind = 'differs' | 'differs_at_least' | 'misnamed' | 'broken' | 'unsettled';

/** Returns whether the counter need not be looked at again. */
function judge(
  { candidate: { id }, counted, least, isExact, isSound }: Sighting,
  touched: ReadonlySet<number>,
  scratch: AuditDatabase,
): boolean {
  // Marks were read before and after: between them is what was marked at the moment.
  const most = isExact ? least : expectedOf(scratch, id);
  if (touched.has(id) || least !== most) return false;
  if (counted === least && isSound) return true;
  const isBroken = Number.isNaN(counted);
  const kind = isBroken ? 'broken' : counted === least ? 'misnamed' : 'differs';
  scratch.run(insertVerdict, id, kind, counted, least, isBroken ? 0 : counted - least);
  return true;
}

function giveUp({ candidate: { id }, counted, least }: Sighting, scratch: AuditDatabase): void {
  if (Number.isNaN(counted)) {
    scratch.run(insertVerdict, id, 'broken', counted, least, 0);
    return;
  }
  // Marks stay: less than what was marked before is a difference whatever comes.
  const kind = counted < least ? 'differs_at_least' : 'unsettled';
  scratch.run(insertVerdict, id, kind, counted, least, counted - least);
}

const insertVerdict = 'INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)';

function expectedOf(scratch: AuditDatabase, counter: number): number {
  return scratch.number('SELECT count FROM expected WHERE counter = ?', counter);
}
