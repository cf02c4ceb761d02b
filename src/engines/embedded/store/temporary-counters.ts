import { DatabaseSync } from 'node:sqlite';

import { rowsOfIncrements, type CounterRow, type Increments } from '../../../domain/counter.ts';
import type { DateRange } from '../../../pipeline/store-admin.ts';
import { counterAdder } from './counter-store.ts';
import { countersTable } from './schema.ts';

/**
 * Counters in a temporary database of this process. SQLite spills it to disk, so that memory does not
 * grow with the number of counters.
 */
export class TemporaryCounters {
  readonly #database = new DatabaseSync('');
  readonly #add;

  constructor() {
    this.#database.exec(`PRAGMA synchronous = OFF; ${countersTable('counters')}`);
    this.#add = counterAdder(this.#database, 'counters');
  }

  add(increments: Increments): void {
    this.addRows(rowsOfIncrements(increments));
  }

  addRows(rows: Iterable<CounterRow>): void {
    this.#database.exec('BEGIN');
    this.#add(rows);
    this.#database.exec('COMMIT');
  }

  /** See `countersBetween`. */
  rows(dates: DateRange): Iterable<CounterRow> {
    return countersBetween(this.#database, 'counters', dates);
  }

  close(): void {
    this.#database.close();
  }
}

/** The rows of a table of counters between two dates, by date and sort key. */
export function countersBetween(
  database: DatabaseSync,
  table: string,
  { from, to }: DateRange,
): Iterable<CounterRow> {
  const sql = `SELECT date, type, state, count FROM ${table} WHERE date BETWEEN ? AND ? ORDER BY date, type_state`;
  return database.prepare(sql).iterate(from, to) as unknown as Iterable<CounterRow>;
}
