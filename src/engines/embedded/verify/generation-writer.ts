import type { DatabaseSync, StatementSync } from 'node:sqlite';

import { rowsOfIncrements, typeStateKey, type Increments } from '../../../domain/counter.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import { keyOf, replayedOf } from '../writer/processor.ts';
import type { Damage } from '../log/scan-log.ts';
import { batchIdOf } from '../log/record-identity.ts';
import { addKeyTo, addReplayedTo, addToCounters } from '../store/counter-store.ts';

/** Writes records into the new tables of a rebuild. */
export class GenerationWriter {
  readonly #add: StatementSync;
  readonly #subtract: StatementSync;
  readonly #deleteEmpty: StatementSync;
  readonly #addKey: StatementSync;
  readonly #addReplayed: StatementSync;
  readonly #addDeadLetter: StatementSync;
  readonly #knownDeadLetter: StatementSync;
  readonly #knownKey: StatementSync;
  readonly #now: number;

  constructor(database: DatabaseSync, now: number) {
    this.#now = now;
    this.#add = database.prepare(addToCounters('counters_next'));
    this.#subtract = database.prepare(
      'UPDATE counters_next SET count = count - ? WHERE date = ? AND type_state = ?',
    );
    this.#deleteEmpty = database.prepare(
      'DELETE FROM counters_next WHERE date = ? AND type_state = ? AND count = 0',
    );
    this.#addKey = database.prepare(addKeyTo('idempotency_keys_next'));
    this.#addReplayed = database.prepare(addReplayedTo('replayed_batches_next'));
    this.#addDeadLetter = database.prepare(
      'INSERT INTO dead_letters_next VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    this.#knownDeadLetter = database.prepare('SELECT * FROM dead_letters WHERE position = ?');
    this.#knownKey = database.prepare(
      'SELECT 1 FROM idempotency_keys WHERE caller = ? AND key = ? AND batch_id = ?',
    );
  }

  addIncrements(increments: Increments): void {
    for (const { date, type, state, count } of rowsOfIncrements(increments)) {
      this.#add.run(date, typeStateKey(type, state), type, state, count);
    }
  }

  /** Subtracts increments that were added before. */
  subtract(increments: Increments): void {
    for (const { date, type, state, count } of rowsOfIncrements(increments)) {
      const typeState = typeStateKey(type, state);
      this.#subtract.run(count, date, typeState);
      this.#deleteEmpty.run(date, typeState);
    }
  }

  /** Adds the record's key, unless it has expired: a key that may have is only kept if it exists. */
  addKey(record: LogRecord, mayBeExpired: boolean): void {
    const keyed = keyOf(record);
    if (keyed === undefined) return;
    const { caller, key, bodySha256, batchId, receivedAt, position } = keyed;
    if (mayBeExpired && this.#knownKey.get(caller, key, batchId) === undefined) return;
    this.#addKey.run(caller, key, bodySha256, batchId, receivedAt, position);
  }

  addReplayed(record: LogRecord): void {
    const replayed = replayedOf(record);
    if (replayed !== undefined) this.#addReplayed.run(replayed.batchId, replayed.position);
  }

  /** @param reason undefined to keep the known one. */
  addDeadLetter(record: LogRecord, reason: string | undefined): void {
    this.#addKnown(record.position, batchIdOf(record), reason, null);
  }

  addDamage({ from, to, path, offset, isFileMissing }: Damage): void {
    const what = isFileMissing ? 'is gone' : 'is damaged';
    const reason = `damaged: what was stored at byte ${offset} of ${path} ${what}`;
    // Keep the known reason, which may name batches, only if the range is the same.
    const isKnown = this.#knownDeadLetter.get(from)?.['damaged_through'] === to;
    this.#addKnown(from, '', isKnown ? undefined : reason, to);
  }

  #addKnown(
    position: LogPosition,
    batchId: string,
    reason: string | undefined,
    damagedThrough: LogPosition | null,
  ): void {
    const known = this.#knownDeadLetter.get(position);
    this.#addDeadLetter.run(
      position,
      batchId,
      reason ?? known?.['reason'] ?? '',
      known?.['first_failed_at'] ?? this.#now,
      known?.['last_failed_at'] ?? this.#now,
      known?.['dropped_at'] ?? null,
      damagedThrough,
    );
  }
}
