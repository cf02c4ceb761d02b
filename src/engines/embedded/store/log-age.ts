import type { DatabaseSync, StatementSync } from 'node:sqlite';

import type { LogPosition } from '../log/frame.ts';
import type { SegmentStart } from '../log/segment.ts';
import { inTransaction } from './schema.ts';

/** No log is older than this software. Milliseconds since 1970. */
const earliestLog = Date.UTC(2025, 0);

/**
 * Says how old the places of the log are, in time that servers ran on it. That is what expiry goes
 * by: a wall clock may jump, and a batch received a second ago would look 56 years old. The time
 * between two runs does not count, since only the wall clock could tell it.
 */
export class LogAge {
  readonly #database: DatabaseSync;
  readonly #elapsedMs: () => number;
  readonly #startedMs: number;
  /** Of all runs before this one. */
  readonly #earlierMs: number;
  readonly #addAge: StatementSync;
  readonly #findPosition: StatementSync;
  readonly #saveRunMs: StatementSync;

  /** @param elapsedMs milliseconds since some moment; never goes back. */
  constructor(database: DatabaseSync, elapsedMs: () => number) {
    this.#database = database;
    this.#elapsedMs = elapsedMs;
    this.#startedMs = elapsedMs();
    this.#addAge = database.prepare('INSERT INTO log_ages (position, run_ms) VALUES (?, ?)');
    this.#findPosition = database.prepare(
      'SELECT max(position) AS position FROM log_ages WHERE run_ms <= ?',
    );
    this.#saveRunMs = database.prepare('UPDATE progress SET run_ms = ?');
    const saved = database
      .prepare(
        'SELECT max((SELECT max(run_ms) FROM progress), (SELECT max(run_ms) FROM log_ages)) AS run_ms',
      )
      .get();
    this.#earlierMs = Number(saved?.['run_ms'] ?? 0);
  }

  /** How long servers have run on this store. */
  runMs(): number {
    return this.#earlierMs + Math.floor(this.#elapsedMs() - this.#startedMs);
  }

  /**
   * Notes that the log up to a position is as old as now, if that is new and the last note is older
   * than `everyMs`. Some 9,000 notes a year stay, since retention may be set later.
   * @throws SQLite's errors.
   */
  note(position: LogPosition, everyMs: number): void {
    const last = this.#database
      .prepare('SELECT position, run_ms FROM log_ages ORDER BY position DESC LIMIT 1')
      .get();
    const runMs = this.runMs();
    if (last !== undefined && position <= Number(last['position'])) return;
    if (last !== undefined && runMs - Number(last['run_ms']) < everyMs) return;
    inTransaction(this.#database, () => {
      this.#addAge.run(position, runMs);
      this.#saveRunMs.run(runMs);
    });
  }

  /** Up to which position the log was there when servers had run `ageMs` less than they have now. */
  positionAtAge(ageMs: number): LogPosition {
    return Number(this.#findPosition.get(this.runMs() - ageMs)?.['position'] ?? 0);
  }

  /** @throws SQLite's errors. */
  save(): void {
    inTransaction(this.#database, () => this.#saveRunMs.run(this.runMs()));
  }

  /**
   * For a database of an earlier version, which noted nothing: takes the ages of segments by the wall
   * clock, once, but for times that cannot be true.
   */
  adoptSegments(segments: () => readonly SegmentStart[], now: number): void {
    if (this.#database.prepare('SELECT 1 FROM log_ages').get() !== undefined) return;
    const runMs = this.runMs();
    inTransaction(this.#database, () => {
      this.#addAge.run(0, runMs);
      for (const { base, createdAt } of segments()) {
        const isPossible = createdAt >= earliestLog && createdAt <= now;
        if (base > 0) this.#addAge.run(base, runMs - (isPossible ? now - createdAt : 0));
      }
    });
  }
}
