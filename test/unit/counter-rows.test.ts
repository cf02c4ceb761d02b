import { DatabaseSync } from 'node:sqlite';

import { afterAll, expect, it } from 'vitest';

import type { CounterRow } from '../../src/domain/counter.ts';
import { readCounters } from '../../src/engines/embedded/counter-rows.ts';
import { countersTable } from '../../src/engines/embedded/sqlite-schema.ts';
import type { CounterQuery } from '../../src/pipeline/ports.ts';

const database = new DatabaseSync(':memory:');
afterAll(() => database.close());
database.exec(`${countersTable('counters')} BEGIN`);
const rows: CounterRow[] = [];
for (const [date, counters] of [
  ['2023-06-14', 1],
  ['2023-06-15', 999],
  ['2023-06-16', 2_500],
  ['2023-06-18', 1_000],
] as const) {
  for (let index = 0; index < counters; index++) {
    const type = `type ${String(Math.floor(index / 7)).padStart(4, '0')}`;
    const row = { date, type, state: `state ${index % 7}`, count: index + 1 };
    rows.push(row);
    database
      .prepare('INSERT INTO counters VALUES (?, ?, ?, ?, ?)')
      .run(date, `${type}#${row.state}`, type, row.state, row.count);
  }
}
database.exec('COMMIT');

const everything: CounterQuery = { from: '2023-06-01', to: '2023-06-30', types: [], states: [] };

it.each<Partial<CounterQuery>>([
  {},
  { from: '2023-06-15', to: '2023-06-15' },
  { from: '2023-06-15', to: '2023-06-16' },
  { from: '2023-06-17', to: '2023-06-17' },
  { from: '2023-06-18' },
  { states: ['state 3'] },
  { types: ['type 0001', 'type 0142'], states: ['state 0', 'state 6'] },
  { types: ['type 9999'] },
])('rows come once, in order, in whatever pieces: %j', (part) => {
  const query = { ...everything, ...part };
  const pieces = [...readCounters(database, query)];
  const expected = rows.filter(
    ({ date, type, state }) =>
      date >= query.from &&
      date <= query.to &&
      (query.types.length === 0 || query.types.includes(type)) &&
      (query.states.length === 0 || query.states.includes(state)),
  );
  expect(pieces.flat().map((row) => ({ ...row }))).toEqual(expected);
  expect(Math.max(...pieces.map((piece) => piece.length))).toBeLessThanOrEqual(1_000);
  expect(database.isTransaction).toBe(false);
});

it('that are not all taken hold nothing once they are given up', () => {
  const pieces = readCounters(database, everything);
  pieces.next();
  expect(database.isTransaction).toBe(true);
  pieces.return(undefined);
  expect(database.isTransaction).toBe(false);
});
