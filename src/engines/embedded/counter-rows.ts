import type { DatabaseSync } from 'node:sqlite';

import type { CounterRow } from '../../domain/counter.ts';
import type { CounterQuery } from '../../pipeline/ports.ts';
import type { Dimension, StatsRow } from '../../pipeline/stats-text.ts';

/** Few enough to be no burden, enough to make their hand-over cheap. */
const pieceRows = 1_000;

/**
 * Pieces of rows by date, then by type and state in UTF-8 byte order of their sort key. They show
 * one state of the counters, which is held until the last is read, or `return` is called.
 */
export function readCounters(
  database: DatabaseSync,
  query: CounterQuery,
): Generator<readonly CounterRow[]> {
  return inPieces<CounterRow>(database, query, 'date, type, state, count', 'date, type_state');
}

/** The same, summed over the dimensions that are not grouped by. */
export function readGroups(
  database: DatabaseSync,
  query: CounterQuery,
  groupBy: readonly Dimension[],
): Generator<readonly StatsRow[]> {
  const key = groupBy.filter((name) => name !== 'date').join();
  const order = [
    ...(groupBy.includes('date') ? ['date'] : []),
    ...orders[key as keyof typeof orders],
  ];
  const columns = `${groupBy.join(', ')}, sum(count) AS count`;
  return inPieces<StatsRow>(database, query, columns, order.join(', '), groupBy);
}

/** What gives the order of the sort key, of which a part may be summed over. */
const orders = {
  '': [],
  type: [`replace(replace(type, '%', '%25'), '#', '%23') || '#'`],
  state: ['state'],
  'type,state': ['type_state'],
} as const;

function* inPieces<Row>(
  database: DatabaseSync,
  { from, to, types, states }: CounterQuery,
  columns: string,
  order: string,
  groupBy: readonly Dimension[] = [],
): Generator<readonly Row[]> {
  const among = (column: string, values: readonly string[]) =>
    values.length === 0 ? '' : ` AND ${column} IN (${values.map(() => '?').join(', ')})`;
  const found = database
    .prepare(
      `SELECT ${columns} FROM counters WHERE date BETWEEN ? AND ?` +
        among('type', types) +
        among('state', states) +
        (groupBy.length === 0 ? '' : ` GROUP BY ${groupBy.join(', ')}`) +
        ` ORDER BY ${order}`,
    )
    .iterate(from, to, ...types, ...states);
  let rows: Row[] = [];
  for (const row of found) {
    rows.push(row as Row);
    if (rows.length < pieceRows) continue;
    yield rows;
    rows = [];
  }
  yield rows;
}
