import type { DatabaseSync, StatementSync } from 'node:sqlite';

import type { LogPosition } from '../log/frame.ts';
import type { SegmentStart } from '../log/segment.ts';

/** The earliest plausible time: no log is older than this software. Milliseconds since 1970. */
const earliestLog = Date.UTC(2025, 0);

/** Runs `act` in a transaction that writes. */
export type Transact = <T>(act: () => T) => T;

/**
 * Tracks the age of log positions, measured in running time of servers. Expiry uses it because a
 * wall clock may jump, so that a batch received a second ago would look 56 years old. Time between
 * two runs does not count, since only the wall clock could measure it.
 */
export class LogAge {
  readonly #database: DatabaseSync;
  readonly #transact: Transact;
  readonly #elapsedMs: () => number;
  readonly #startedMs: number;
  /** Running time of all earlier runs. */
  readonly #earlierMs: number;
  readonly #addAge: StatementSync;
  readonly #findPosition: StatementSync;
  readonly #saveRunMs: StatementSync;

  /** @param elapsedMs a monotonic clock, in milliseconds. */
  constructor(database: DatabaseSync, elapsedMs: () => number, transact: Transact) {
    this.#database = database;
    this.#transact = transact;
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

  /** Running time of all servers on this store, in milliseconds. */
  runMs(): number {
    return this.#earlierMs + Math.floor(this.#elapsedMs() - this.#startedMs);
  }

  /**
   * Records that the log has reached a position by now, if it has grown and the last entry is older
   * than `everyMs`. Entries are never deleted, some 9,000 a year, since retention may be enabled later.
   * @throws SQLite's errors.
   */
  note(position: LogPosition, everyMs: number): void {
    const last = this.#database
      .prepare('SELECT position, run_ms FROM log_ages ORDER BY position DESC LIMIT 1')
      .get();
    const runMs = this.runMs();
    if (last !== undefined && position <= Number(last['position'])) return;
    if (last !== undefined && runMs - Number(last['run_ms']) < everyMs) return;
    this.#transact(() => {
      this.#addAge.run(position, runMs);
      this.#saveRunMs.run(runMs);
    });
  }

  /** The end of the log's part that is at least `ageMs` old. */
  positionAtAge(ageMs: number): LogPosition {
    return Number(this.#findPosition.get(this.runMs() - ageMs)?.['position'] ?? 0);
  }

  /** @throws SQLite's errors. */
  save(): void {
    this.#transact(() => this.#saveRunMs.run(this.runMs()));
  }

  /**
   * Initialises the ages in a database of an earlier version from the segments' creation times,
   * ignoring times that cannot be true.
   */
  adoptSegments(segments: () => readonly SegmentStart[], now: number): void {
    if (this.#database.prepare('SELECT 1 FROM log_ages').get() !== undefined) return;
    const runMs = this.runMs();
    this.#transact(() => {
      this.#addAge.run(0, runMs);
      for (const { base, createdAt } of segments()) {
        const isPossible = createdAt >= earliestLog && createdAt <= now;
        if (base > 0) this.#addAge.run(base, runMs - (isPossible ? now - createdAt : 0));
      }
    });
  }
}
