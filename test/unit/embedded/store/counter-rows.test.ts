import { DatabaseSync } from 'node:sqlite';

import { afterAll, expect, it } from 'vitest';

import { compareCounters, typeStateKey, type CounterRow } from '../../../../src/domain/counter.ts';
import { readCounters, readGroups } from '../../../../src/engines/embedded/store/counter-rows.ts';
import { countersTable } from '../../../../src/engines/embedded/store/schema.ts';
import type { CounterQuery } from '../../../../src/pipeline/ports.ts';
import { dimensions } from '../../../../src/pipeline/stats-formats.ts';

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

/** Of days with gaps between them, more than are added up at a time; names whose order is not that of JavaScript. */
function sparseDays(): { database: DatabaseSync; rows: CounterRow[] } {
  const sparse = new DatabaseSync(':memory:');
  sparse.exec(countersTable('counters'));
  const insert = sparse.prepare('INSERT INTO counters VALUES (?, ?, ?, ?, ?)');
  const types = ['a', 'a#b', 'a%', 'Z', '\uffff', '\u{10000}', 'é'];
  const states = ['b', 'b#c', '\uffff', '\u{1f600}'];
  const all: CounterRow[] = [];
  for (let day = 0; day < 400; day += day % 7 === 0 ? 1 : 5) {
    const date = new Date(Date.UTC(2022, 11, 1 + day)).toISOString().slice(0, 10);
    for (const [at, type] of types.entries()) {
      const state = states[(day + at) % states.length] ?? '';
      const row = { date, type, state, count: 1 + ((day * 31 + at) % 90) };
      insert.run(date, typeStateKey(type, state), type, state, row.count);
      all.push(row);
    }
  }
  return { database: sparse, rows: all };
}

const groupings = ['date', 'type', 'state', 'date,type', 'date,state', 'type,state'].map((names) =>
  dimensions.filter((name) => names.split(',').includes(name)),
);

it.each(groupings.map((groupBy) => [groupBy]))(
  'sums are those of all rows, in order, however many days are added up at a time: %j',
  (groupBy) => {
    const sparse = sparseDays();
    const parts: Partial<CounterQuery>[] = [
      ...[{}, { types: ['a', 'Z'] }, { states: ['none'] }, { from: '2023-05-05' }],
    ];
    for (const part of parts) {
      const query = { ...everything, from: '2022-12-03', to: '2023-12-03', ...part };
      const sums = new Map<string, CounterRow>();
      for (const row of sparse.rows) {
        if (row.date < query.from || row.date > query.to) continue;
        if (query.types.length > 0 && !query.types.includes(row.type)) continue;
        if (query.states.length > 0 && !query.states.includes(row.state)) continue;
        const group = { date: '', type: '', state: '', count: row.count };
        for (const name of groupBy) group[name] = row[name];
        const key = JSON.stringify(groupBy.map((name) => row[name]));
        const sum = sums.get(key);
        sums.set(key, sum === undefined ? group : { ...sum, count: sum.count + row.count });
      }
      const expected = [...sums.values()]
        .sort(compareCounters)
        .map((row) =>
          Object.fromEntries(
            [...dimensions.filter((name) => groupBy.includes(name)), 'count' as const].map(
              (name) => [name, row[name]],
            ),
          ),
        );
      const found = [...readGroups(sparse.database, query, groupBy)].flat();
      expect(found.map((row) => ({ ...row }))).toEqual(expected);
      expect(sparse.database.isTransaction).toBe(false);
    }
    sparse.database.close();
  },
);
