import type { DatabaseSync } from 'node:sqlite';

import type { CounterRow } from '../../../domain/counter.ts';
import { daysInRange, type CalendarDate } from '../../../domain/timestamp.ts';
import type { CounterQuery } from '../../../pipeline/ports.ts';
import type { Dimension, StatsRow } from '../../../pipeline/stats-formats.ts';
import { Groups } from '../../../pipeline/stats-text.ts';

/** Few enough to be no burden, enough to make their hand-over cheap. */
const pieceRows = 1_000;

/**
 * Pieces of rows by date, then by type and state in UTF-8 byte order of their sort key. They show
 * one state of the counters, which is held until the last is read, or `return` is called. Nobody
 * else may use the connection meanwhile.
 */
export function* readCounters(
  database: DatabaseSync,
  { from, to, types, states }: CounterQuery,
): Generator<readonly CounterRow[]> {
  // One bound at each end: of two, SQLite would look up the wrong one.
  const after = 'FROM counters WHERE (date, type_state) > (?, ?)';
  const order = 'ORDER BY date, type_state';
  const found = `${filterOf(types, states)} ${order}`;
  const select = `SELECT date, type, state, count ${after}`;
  const ofRest = database.prepare(`${select} AND date <= ?${found}`);
  const ofPiece = database.prepare(`${select} AND (date, type_state) <= (?, ?)${found}`);
  const endOfPiece = database.prepare(
    `SELECT date, type_state ${after} AND date <= ? ${order} LIMIT 1 OFFSET ${pieceRows - 1}`,
  );
  // Row by row an iterator takes twice as long.
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
    // Some failures end it by themselves.
    if (database.isTransaction) database.exec('ROLLBACK');
  }
}

/** So long the sums of some days may take at a time: others are asked meanwhile. */
const sumMs = 10;
const dayMs = 86_400_000;

/**
 * Pieces of the same, summed over the dimensions that are not grouped by. Some are empty: so many days
 * have been added up.
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
  // Rows of different days are never of one group.
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

function addDays(day: CalendarDate, days: number): CalendarDate {
  return new Date(Date.parse(day) + days * dayMs).toISOString().slice(0, 10);
}

function filterOf(types: readonly string[], states: readonly string[]): string {
  const among = (column: string, values: readonly string[]) =>
    values.length === 0 ? '' : ` AND ${column} IN (${values.map(() => '?').join(', ')})`;
  return among('type', types) + among('state', states);
}

/** The order of the sort keys, of which a part may be summed over. */
function orderOf(groupBy: readonly Dimension[]): string {
  const hasType = groupBy.includes('type');
  const hasState = groupBy.includes('state');
  const order = groupBy.includes('date') ? ['date'] : [];
  if (hasType && hasState) order.push('type_state');
  else if (hasType) order.push(`replace(replace(type, '%', '%25'), '#', '%23') || '#'`);
  else if (hasState) order.push('state');
  return order.join(', ');
}
