import { counterDifference, nameOfCounter, type Difference } from '../../../pipeline/findings.ts';
import { differentBodies } from './audit-copies.ts';
import { batchStates, chunkStates } from './audit-schema.ts';
import { isNotGrouped, type AuditDatabase } from './audit-database.ts';
import type { FindingKind } from './audit-settlement.ts';

/** The numbers that an audit reports beside findings. */
export interface AuditCounts {
  readonly batches: number;
  readonly items: number;
  readonly bytes: number;
  /** Counters compared. */
  readonly counters: number;
  /** Batches with an idempotency key. */
  readonly keys: number;
  /** Uncounted chunks among the dead letters. */
  readonly deadLetters: number;
  /** Young batches that are not completely counted and may still be on their way. */
  readonly inFlight: number;
  /** Batches whose dedup records may have expired: assumed to be counted. */
  readonly forgotten: number;
  /** Batches that an operator dropped, completely or in part. */
  readonly dropped: number;
  /** Counted items of foreign messages, which have no raw body. */
  readonly foreignMessages: number;
  /** Counted items of foreign messages whose dedup record names no counter. */
  readonly unattributed: number;
  /** If a lifecycle rule deletes raw bodies: the first day with all of them (`YYYY-MM-DD`), */
  readonly wholeFrom?: string;
  /** and the counters of earlier days that are above the recount, which is no finding. */
  readonly aboveExpired?: number;
}

const { open, forgotten, dropped, unrecorded } = chunkStates;
const lateChunks = `
  SELECT c.id, c.batch, c.chunk FROM chunks c
  WHERE c.state = ${open}
  AND (SELECT max(b.since) FROM batches b WHERE b.batch = c.batch) < ?
  AND NOT EXISTS (SELECT 1 FROM dead d WHERE d.batch = c.batch AND d.chunk = c.chunk)
  ORDER BY c.batch, c.chunk`;

/**
 * Finds chunks that are counted and whose dedup record is missing: each of their counters exceeds
 * its expected value by at least what the chunk counts. Subtracts the amounts that they explain
 * from the findings.
 */
export function findCountedWithoutDedupRecord(database: AuditDatabase): void {
  if (
    database.number(`SELECT count(*) FROM findings WHERE kind = 'differs' AND excess > 0`) === 0
  ) {
    return;
  }
  database.transaction(() => {
    // Include young chunks: without a dedup record they would be counted twice.
    for (const { id } of database.all<{ id: number }>(lateChunks, Number.MAX_SAFE_INTEGER)) {
      const isExplained = database.number(
        `SELECT count(*) > 0 AND min(coalesce(v.kind = 'differs' AND v.excess >= o.count, 0))
         FROM open_increments o LEFT JOIN findings v ON v.counter = o.counter WHERE o.chunk = ?`,
        id,
      );
      if (isExplained === 0) continue;
      database.run(
        `UPDATE findings SET excess = excess - o.count, expected = expected + o.count
         FROM open_increments o WHERE o.counter = findings.counter AND o.chunk = ?`,
        id,
      );
      database.run(`UPDATE chunks SET state = ${unrecorded} WHERE id = ?`, id);
    }
    database.run(`DELETE FROM findings WHERE kind = 'differs' AND excess = 0`);
  });
}

/** The uncounted chunks of batches old enough to be counted. */
export function chunksNotCounted(
  database: AuditDatabase,
  inFlightBefore: number,
): { readonly batch: string; readonly chunk: number }[] {
  return database.all(lateChunks, inFlightBefore);
}

/** The findings on batches, by kind, then by name. */
export function* batchDifferences(
  database: AuditDatabase,
  { inFlightBefore, rowsSince }: { inFlightBefore: number; rowsSince: number },
): Generator<Difference> {
  yield* damagedBodies(database);
  yield* differentBodies(database);
  yield* missingBodies(database);
  yield* notCounted(database, inFlightBefore);
  yield* chunksWithoutRecord(database);
  yield* differingRecords(database);
  yield* batchRows(database, inFlightBefore, rowsSince);
}

const isNotDropped = 'NOT EXISTS (SELECT 1 FROM dropped d WHERE d.batch = b.batch)';

function* damagedBodies(database: AuditDatabase): Generator<Difference> {
  const sql = `SELECT raw_key, reason FROM batches b WHERE state = ${batchStates.damaged} AND ${isNotDropped} ORDER BY raw_key`;
  for (const { raw_key, reason } of database.each<{ raw_key: string; reason: string }>(sql)) {
    const detail = `${raw_key} is damaged: ${reason}.`;
    yield { code: 'raw_damaged', detail, rawKeys: [raw_key] };
  }
  for (const { key, reason } of damagedGroups(database)) {
    yield { code: 'raw_damaged', detail: `${key} is damaged: ${reason}.` };
  }
}

/** Groups that are not readable, at least in part. The batches in them have no raw body. */
export function damagedGroups(
  database: AuditDatabase,
): { readonly key: string; readonly reason: string }[] {
  return database.all(
    `SELECT key, reason FROM groups WHERE state = ${batchStates.damaged} ORDER BY key`,
  );
}

/** Batches with dedup records or a batch row, and without a raw body. */
export const batchesWithoutBody = `
  SELECT b.batch, sum(b.is_record) AS records, sum(b.items) AS items FROM (
    SELECT batch, 1 AS is_record, items FROM dedup_records m WHERE dropped = 0
      AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.batch = m.batch AND c.chunk = m.chunk)
    UNION ALL
    SELECT batch, 0, 0 FROM batch_rows) b
  WHERE ${isNotDropped}
  AND NOT EXISTS (SELECT 1 FROM batches r WHERE r.batch = b.batch AND r.state <> ${batchStates.gone})
  GROUP BY b.batch ORDER BY b.batch`;

export interface StrayDedupRecord {
  readonly batch: string;
  readonly chunk: number;
  /** Null if the record has no number. */
  readonly items: number | null;
  readonly raw_key: string;
}

/** Dedup records of chunks that the raw body of their batch does not have. */
export const strayDedupRecords = `
  SELECT m.batch, m.chunk, m.items, max(b.raw_key) AS raw_key
  FROM dedup_records m JOIN batches b ON b.batch = m.batch
  WHERE dropped = 0 AND b.state = ${batchStates.read} AND ${isNotDropped}
  AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.batch = m.batch AND c.chunk = m.chunk)
  AND NOT EXISTS (SELECT 1 FROM batches x WHERE x.batch = m.batch AND x.state = ${batchStates.damaged})
  GROUP BY m.batch, m.chunk ORDER BY m.batch, m.chunk`;

function* missingBodies(database: AuditDatabase): Generator<Difference> {
  type Row = { batch: string; records: number; items: number | null };
  for (const { batch, records, items } of database.each<Row>(batchesWithoutBody)) {
    const what =
      records === 0 ? 'stored and queued' : `counted (${items ?? 0} items in ${records} chunks)`;
    const detail = `According to the ledger, batch ${batch} is ${what}, but its raw body is missing.`;
    yield { code: 'raw_missing', detail };
  }
  for (const { batch, chunk, raw_key } of database.each<StrayDedupRecord>(strayDedupRecords)) {
    const detail = `According to the ledger, chunk ${chunk} of batch ${batch} is counted, but its raw body has no such chunk.`;
    yield { code: 'raw_missing', detail, rawKeys: [raw_key] };
  }
}

function* notCounted(database: AuditDatabase, inFlightBefore: number): Generator<Difference> {
  const sql = `
    SELECT l.batch, group_concat(l.chunk, ', ') AS late, count(*) AS count,
      max(b.raw_key) AS raw_key, max(b.chunks) AS chunks
    FROM (${lateChunks}) l JOIN batches b ON b.batch = l.batch GROUP BY l.batch ORDER BY raw_key`;
  type Row = { late: string; count: number; raw_key: string; chunks: number };
  for (const { late, count, raw_key, chunks } of database.each<Row>(sql, inFlightBefore)) {
    const rawKeys = [raw_key];
    if (count === chunks) {
      yield { code: 'batch_not_counted', detail: `${raw_key} is not counted.`, rawKeys };
    } else {
      const detail = `${raw_key} is counted in part: of its ${chunks} chunks, not ${shortened(late)}.`;
      yield { code: 'batch_counted_in_part', detail, rawKeys };
    }
  }
}

function* chunksWithoutRecord(database: AuditDatabase): Generator<Difference> {
  const sql = `SELECT c.chunk, max(b.raw_key) AS raw_key FROM chunks c JOIN batches b ON b.batch = c.batch
    WHERE c.state = ${unrecorded} GROUP BY c.id ORDER BY raw_key, c.chunk`;
  for (const { chunk, raw_key } of database.each<{ chunk: number; raw_key: string }>(sql)) {
    const detail = `Chunk ${chunk} of ${raw_key} is counted, but its dedup record is missing from the ledger: a repeated delivery would count it twice.`;
    yield { code: 'ledger_missing', detail, rawKeys: [raw_key] };
  }
}

function* differingRecords(database: AuditDatabase): Generator<Difference> {
  const sql = `SELECT c.chunk, c.items, m.items AS recorded, max(b.raw_key) AS raw_key FROM chunks c
    JOIN dedup_records m ON m.batch = c.batch AND m.chunk = c.chunk JOIN batches b ON b.batch = c.batch
    WHERE m.dropped = 0 AND m.items IS NOT c.items GROUP BY c.id ORDER BY raw_key, c.chunk`;
  type Row = { chunk: number; items: number; recorded: number | null; raw_key: string };
  for (const { chunk, items, recorded, raw_key } of database.each<Row>(sql)) {
    const detail = `Chunk ${chunk} of ${raw_key} has ${items} items, but the ledger has ${recorded ?? 'no number'}.`;
    yield { code: 'ledger_differs', detail, rawKeys: [raw_key] };
  }
}

interface BatchRowIssue {
  readonly raw_key: string;
  readonly batch: string;
  readonly accepted: number;
  readonly rejected: number;
  readonly chunks: number;
  readonly is_missing: 0 | 1;
}

/** Batches whose row is missing or wrong, if they are old enough to have one and it has not expired. */
export function batchRowIssues(
  database: AuditDatabase,
  inFlightBefore: number,
  rowsSince: number,
): BatchRowIssue[] {
  const sql = `SELECT b.raw_key, b.batch, b.accepted, b.rejected, b.chunks, r.batch IS NULL AS is_missing
    FROM batches b LEFT JOIN batch_rows r ON r.batch = b.batch
    WHERE b.state = ${batchStates.read} AND b.since < ? AND ${isNotDropped} AND ${isNotGrouped}
    AND (r.batch IS NULL AND substr(b.raw_key, 5, 24) > ?
      OR r.batch IS NOT NULL AND (r.accepted IS NOT b.accepted OR r.rejected IS NOT b.rejected OR r.chunks IS NOT b.chunks))
    ORDER BY b.raw_key`;
  return database.all(sql, inFlightBefore, new Date(Math.max(0, rowsSince)).toISOString());
}

function* batchRows(
  database: AuditDatabase,
  inFlightBefore: number,
  rowsSince: number,
): Generator<Difference> {
  for (const { raw_key, is_missing } of batchRowIssues(database, inFlightBefore, rowsSince)) {
    const rawKeys = [raw_key];
    if (is_missing === 1) {
      const detail = `${raw_key} has no batch row in the ledger, so no receipt.`;
      yield { code: 'ledger_missing', detail, rawKeys };
    } else {
      const detail = `The batch row of ${raw_key} in the ledger has other numbers.`;
      yield { code: 'ledger_differs', detail, rawKeys };
    }
  }
}

interface FindingRow {
  readonly counter: number;
  readonly kind: FindingKind;
  readonly counted: number | null;
  readonly expected: number;
  readonly date: string;
  readonly type: string;
  readonly state: string;
  readonly has_row: 0 | 1;
}

const namedMax = 5;
/** The maximum number of findings for which the audit looks up the batches. */
const namedCountersMax = 1_000;

/** The findings on counters, in order, with some of the batches that explain them. */
export function* counterDifferences(database: AuditDatabase): Generator<Difference> {
  const sql = `SELECT v.counter, v.kind, v.counted, v.expected, c.date, c.type, c.state,
      EXISTS (SELECT 1 FROM counted x WHERE x.counter = v.counter) AS has_row
    FROM findings v JOIN counters c ON c.id = v.counter ORDER BY c.date, c.type_state`;
  if (database.number('SELECT count(*) FROM findings') === 0) return;
  database.run('CREATE INDEX IF NOT EXISTS increments_by_chunk ON increments (chunk)');
  let named = 0;
  for (const row of database.each<FindingRow>(sql)) {
    const difference = differenceOf(row);
    yield named++ < namedCountersMax
      ? { ...difference, ...namedBatches(database, row) }
      : difference;
  }
}

function differenceOf(row: FindingRow): Difference {
  const { kind, expected: recounted, date, type, state } = row;
  const counter = { date, type, state };
  const counted = row.counted ?? 0;
  const name = nameOfCounter(counter);
  const both = { counter, counted, recounted };
  const differs = (what: string): Difference => ({
    ...{ code: 'counter_differs', detail: `${name} ${what}`, ...both },
  });
  switch (kind) {
    case 'broken':
      return differs(`has no number as its count; the raw store has ${recounted}.`);
    case 'misnamed':
      return differs('has another type or state than its key.');
    case 'unsettled': {
      const detail = `${name} changed during every read, so it was not compared exactly; it is at least ${recounted}, as it must be. Run audit again when fewer batches arrive.`;
      return { code: 'counter_unsettled', detail, ...both };
    }
    case 'differs':
    case 'differs_at_least': {
      const compared = {
        counter,
        counted: row.has_row === 1 ? counted : undefined,
        recounted: recounted === 0 ? undefined : recounted,
      };
      return counterDifference(compared) ?? differs('differs.');
    }
  }
}

function namedBatches(database: AuditDatabase, { counter, counted, expected }: FindingRow) {
  const rawKeys = database.all<{ raw_key: string }>(
    `SELECT DISTINCT b.raw_key FROM increments i JOIN chunks c ON c.id = i.chunk
     JOIN batches b ON b.batch = c.batch WHERE i.counter = ? LIMIT ${namedMax}`,
    counter,
  );
  // A batch that explains the difference: each of its counters differs by at least what it counts.
  const sign = (counted ?? 0) < expected ? -1 : 1;
  const explainedBy = database.all<{ raw_key: string }>(
    `SELECT max(b.raw_key) AS raw_key FROM (
       SELECT DISTINCT c.batch FROM increments i JOIN chunks c ON c.id = i.chunk
       JOIN findings v ON v.counter = i.counter
       WHERE i.counter = ? AND i.count <= v.excess * ${sign}) s
     JOIN batches b ON b.batch = s.batch
     WHERE NOT EXISTS (
       SELECT 1 FROM chunks c JOIN increments i ON i.chunk = c.id
       LEFT JOIN findings v ON v.counter = i.counter
       WHERE c.batch = s.batch AND coalesce(v.excess, 0) * ${sign} < i.count)
     GROUP BY s.batch LIMIT ${namedMax}`,
    counter,
  );
  return {
    rawKeys: rawKeys.map(({ raw_key }) => raw_key),
    explainedBy: explainedBy.map(({ raw_key }) => raw_key),
  };
}

/** The numbers that an audit reports beside findings. */
export function countsOf(database: AuditDatabase, inFlightBefore: number): AuditCounts {
  const number = (sql: string, ...values: number[]) => database.number(sql, ...values);
  const read = `FROM batches WHERE state = ${batchStates.read}`;
  return {
    batches: number(`SELECT count(*) ${read}`),
    items: number(`SELECT sum(accepted) ${read}`),
    bytes: number(`SELECT sum(bytes) FROM batches`),
    counters: number('SELECT count(*) FROM counted'),
    keys: number('SELECT count(*) FROM batch_keys'),
    deadLetters: number(
      `SELECT count(*) FROM dead d JOIN chunks c ON c.batch = d.batch AND c.chunk = d.chunk WHERE c.state = ${open}`,
    ),
    inFlight: number(
      `SELECT count(DISTINCT c.batch) FROM chunks c JOIN batches b ON b.batch = c.batch
       WHERE c.state = ${open} AND b.since >= ?`,
      inFlightBefore,
    ),
    forgotten: number(`SELECT count(DISTINCT batch) FROM chunks WHERE state = ${forgotten}`),
    dropped: number(
      `SELECT (SELECT count(DISTINCT batch) FROM chunks WHERE state = ${dropped})
       + (SELECT count(*) FROM dropped d WHERE NOT EXISTS (SELECT 1 FROM chunks c WHERE c.batch = d.batch))`,
    ),
    foreignMessages: number('SELECT sum(count) FROM foreign_messages'),
    unattributed: number('SELECT sum(count) FROM foreign_messages WHERE counter = 0'),
  };
}

function shortened(list: string): string {
  return list.length <= 200 ? list : `${list.slice(0, 200)} …`;
}
