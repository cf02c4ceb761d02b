import { DatabaseSync, type StatementSync } from 'node:sqlite';

import {
  rowsOfIncrements,
  typeStateKey,
  type CounterRow,
  type Increments,
} from '../../../domain/counter.ts';
import { addToCounters } from './counter-store.ts';
import { countersTable } from './schema.ts';

/**
 * Counters in a temporary database that nobody else sees: it spills to the disk, so that memory
 * does not grow with them, and is gone with the process.
 */
export class TemporaryCounters {
  readonly #database = new DatabaseSync('');
  readonly #add: StatementSync;

  constructor() {
    this.#database.exec(`PRAGMA synchronous = OFF; ${countersTable('counters')}`);
    this.#add = this.#database.prepare(addToCounters('counters'));
  }

  add(tally: Increments): void {
    this.addRows(rowsOfIncrements(tally));
  }

  addRows(rows: Iterable<CounterRow>): void {
    this.#database.exec('BEGIN');
    for (const { date, type, state, count } of rows) {
      this.#add.run(date, typeStateKey(type, state), type, state, count);
    }
    this.#database.exec('COMMIT');
  }

  /** The rows between two dates, both included, in the order of counters. */
  rows(from: string, to: string): Iterable<CounterRow> {
    return this.#database
      .prepare(selectCounters('counters'))
      .iterate(from, to) as unknown as Iterable<CounterRow>;
  }

  close(): void {
    this.#database.close();
  }
}

/** A statement that reads a table of counters between two dates, both included, in order. */
export function selectCounters(table: string): string {
  return `SELECT date, type, state, count FROM ${table} WHERE date BETWEEN ? AND ? ORDER BY date, type_state`;
}
