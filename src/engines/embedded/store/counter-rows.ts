import type { DatabaseSync } from 'node:sqlite';

import type { CounterRow } from '../../../domain/counter.ts';
import { addDays, daysInRange } from '../../../domain/timestamp.ts';
import type { CounterQuery } from '../../../pipeline/ports.ts';
import type { Dimension, StatsRow } from '../../../pipeline/stats/formats.ts';
import { Groups } from '../../../pipeline/stats/text.ts';

/** Rows per piece: bounds memory, and spreads the cost of passing a piece on. */
const pieceRows = 1_000;

/**
 * Yields pieces of rows, ordered by date, then by sort key in UTF-8 byte order. All are of one
 * state of the counters: the read transaction ends after the last piece or with `return`. Until
 * then, the caller must not use the connection for anything else.
 */
export function* readCounters(
  database: DatabaseSync,
  { from, to, types, states }: CounterQuery,
): Generator<readonly CounterRow[]> {
  // Give one bound at each end: of two, SQLite would use the less selective one for its lookup.
  const after = 'FROM counters WHERE (date, type_state) > (?, ?)';
  const order = 'ORDER BY date, type_state';
  const found = `${filterOf(types, states)} ${order}`;
  const select = `SELECT date, type, state, count ${after}`;
  const ofRest = database.prepare(`${select} AND date <= ?${found}`);
  const ofPiece = database.prepare(`${select} AND (date, type_state) <= (?, ?)${found}`);
  const endOfPiece = database.prepare(
    `SELECT date, type_state ${after} AND date <= ? ${order} LIMIT 1 OFFSET ${pieceRows - 1}`,
  );
  // Calling `all` for each piece takes half as long as iterating over rows.
  database.exec('BEGIN');
  try {
    for (let place: readonly [string, string] = [from, '']; ;) {
      const end = endOfPiece.get(...place, to);
      if (end === undefined) {
        yield ofRest.all(...place, to, ...types, ...states) as unknown as CounterRow[];
        return;
      }
      const next = [String(end['date']), String(end['type_state'])] as const;
      yield ofPiece.all(...place, ...next, ...types, ...states) as unknown as CounterRow[];
      place = next;
    }
  } finally {
    // Some errors have already ended the transaction.
    if (database.isTransaction) database.exec('ROLLBACK');
  }
}

/** Target duration of summing one step's days, in milliseconds; other queries run between steps. */
const sumMs = 10;

/**
 * Like `readCounters`, but sums over the dimensions that are not in `groupBy`. Yields an empty piece
 * after each step, so that other queries can run.
 */
export function* readGroups(
  database: DatabaseSync,
  { from, to, types, states }: CounterQuery,
  groupBy: readonly Dimension[],
): Generator<readonly StatsRow[]> {
  const names = groupBy.join(', ');
  const ofDays = database.prepare(
    `SELECT ${names}, sum(count) AS count FROM counters ` +
      `WHERE date BETWEEN ? AND ?${filterOf(types, states)} ` +
      `GROUP BY ${names} ORDER BY ${orderOf(groupBy)}`,
  );
  const firstFrom = database.prepare('SELECT min(date) AS day FROM counters WHERE date >= ?');
  // If grouped by date, groups never span days, so each step's rows are final.
  const groups = groupBy.includes('date') ? undefined : new Groups(groupBy);
  database.exec('BEGIN');
  try {
    let days = 1;
    for (let next: string | undefined = from; next !== undefined;) {
      const day: unknown = firstFrom.get(next)?.['day'];
      if (typeof day !== 'string' || day > to) break;
      const end = addDays(day, Math.min(days, daysInRange(day, to)) - 1);
      const startedAt = performance.now();
      const rows = ofDays.all(day, end, ...types, ...states) as unknown as StatsRow[];
      const ms = performance.now() - startedAt;
      if (groups === undefined) yield* piecesOf(rows);
      else groups.add(rows);
      yield [];
      if (ms < sumMs / 2) days *= 2;
      else if (ms > sumMs) days = Math.ceil(days / 2);
      next = end < to ? addDays(end, 1) : undefined;
    }
    if (groups !== undefined) yield* piecesOf(groups.rows());
  } finally {
    if (database.isTransaction) database.exec('ROLLBACK');
  }
}

function* piecesOf(rows: readonly StatsRow[]): Generator<readonly StatsRow[]> {
  for (let at = 0; at < rows.length; at += pieceRows) yield rows.slice(at, at + pieceRows);
}

function filterOf(types: readonly string[], states: readonly string[]): string {
  const among = (column: string, values: readonly string[]) =>
    values.length === 0 ? '' : ` AND ${column} IN (${values.map(() => '?').join(', ')})`;
  return among('type', types) + among('state', states);
}

/** Orders by sort key, without the parts that are summed over. */
function orderOf(groupBy: readonly Dimension[]): string {
  const hasType = groupBy.includes('type');
  const hasState = groupBy.includes('state');
  const order = groupBy.includes('date') ? ['date'] : [];
  if (hasType && hasState) order.push('type_state');
  else if (hasType) order.push(`replace(replace(type, '%', '%25'), '#', '%23') || '#'`);
  else if (hasState) order.push('state');
  return order.join(', ');
}
