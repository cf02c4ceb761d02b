import type { DatabaseSync } from 'node:sqlite';

import type { CounterRow } from '../../domain/counter.ts';
import type { CounterQuery } from '../../pipeline/ports.ts';
import type { Dimension, StatsRow } from '../../pipeline/stats-text.ts';

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

/** Pieces of the same, summed over the dimensions that are not grouped by. */
export function* readGroups(
  database: DatabaseSync,
  { from, to, types, states }: CounterQuery,
  groupBy: readonly Dimension[],
): Generator<readonly StatsRow[]> {
  const names = groupBy.join(', ');
  const found = database
    .prepare(
      `SELECT ${names}, sum(count) AS count FROM counters ` +
        `WHERE date BETWEEN ? AND ?${filterOf(types, states)} ` +
        `GROUP BY ${names} ORDER BY ${orderOf(groupBy)}`,
    )
    .iterate(from, to, ...types, ...states);
  let rows: StatsRow[] = [];
  for (const row of found) {
    rows.push(row as unknown as StatsRow);
    if (rows.length < pieceRows) continue;
    yield rows;
    rows = [];
  }
  yield rows;
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
