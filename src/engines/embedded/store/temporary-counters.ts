import { DatabaseSync } from 'node:sqlite';

import { rowsOfIncrements, type CounterRow, type Increments } from '../../../domain/counter.ts';
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

  /** The rows between two dates, both included, by date and sort key. */
  rows(from: string, to: string): Iterable<CounterRow> {
    return this.#database
      .prepare(selectCounters('counters'))
      .iterate(from, to) as unknown as Iterable<CounterRow>;
  }

  close(): void {
    this.#database.close();
  }
}

/** SQL that reads counters by date and sort key; parameters: first and last date, both included. */
export function selectCounters(table: string): string {
  return `SELECT date, type, state, count FROM ${table} WHERE date BETWEEN ? AND ? ORDER BY date, type_state`;
}
