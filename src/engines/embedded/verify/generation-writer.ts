import type { DatabaseSync } from 'node:sqlite';

import { rowsOfIncrements, typeStateKey, type Increments } from '../../../domain/counter.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import { keyOf, replayedOf } from '../writer/processor.ts';
import type { Damage } from '../log/scan-log.ts';
import { batchIdOf } from '../log/record-identity.ts';
import { counterAdder, keyAdder, replayedAdder } from '../store/counter-store.ts';

export type GenerationWriter = ReturnType<typeof generationWriter>;

/** Writes records into the new tables of a rebuild. */
export function generationWriter(database: DatabaseSync, now: number) {
  const add = counterAdder(database, 'counters_next');
  const subtract = database.prepare(
    'UPDATE counters_next SET count = count - ? WHERE date = ? AND type_state = ?',
  );
  const deleteEmpty = database.prepare(
    'DELETE FROM counters_next WHERE date = ? AND type_state = ? AND count = 0',
  );
  const addKey = keyAdder(database, 'idempotency_keys_next');
  const addReplayed = replayedAdder(database, 'replayed_batches_next');
  const insertDeadLetter = database.prepare(
    'INSERT INTO dead_letters_next VALUES (?, ?, ?, ?, ?, ?, ?)',
  );
  const knownDeadLetter = database.prepare('SELECT * FROM dead_letters WHERE position = ?');
  const knownKey = database.prepare(
    'SELECT 1 FROM idempotency_keys WHERE caller = ? AND key = ? AND batch_id = ?',
  );

  /** @param reason the reason, or undefined to keep the known one. */
  const addDeadLetter = (
    position: LogPosition,
    batchId: string,
    reason: string | undefined,
    damagedThrough: LogPosition | null,
  ) => {
    const known = knownDeadLetter.get(position);
    insertDeadLetter.run(
      ...[position, batchId, reason ?? known?.['reason'] ?? ''],
      ...[known?.['first_failed_at'] ?? now, known?.['last_failed_at'] ?? now],
      ...[known?.['dropped_at'] ?? null, damagedThrough],
    );
  };

  return {
    add: (increments: Increments) => add(rowsOfIncrements(increments)),

    /** Subtracts increments that were added before. */
    subtract(increments: Increments): void {
      for (const { date, type, state, count } of rowsOfIncrements(increments)) {
        const typeState = typeStateKey(type, state);
        subtract.run(count, date, typeState);
        deleteEmpty.run(date, typeState);
      }
    },

    /**
     * Adds the record's key, unless it has expired: a key that may have expired is kept only if the
     * old table has it.
     */
    addKey(record: LogRecord, mayBeExpired: boolean): void {
      const keyed = keyOf(record);
      if (keyed === undefined) return;
      const { caller, key, batchId } = keyed;
      if (!mayBeExpired || knownKey.get(caller, key, batchId) !== undefined) addKey(keyed);
    },

    addReplayed(record: LogRecord): void {
      const replayed = replayedOf(record);
      if (replayed !== undefined) addReplayed(replayed);
    },

    /** @param reason the reason, or undefined to keep the known one. */
    addDeadLetter: (record: LogRecord, reason: string | undefined) =>
      addDeadLetter(record.position, batchIdOf(record), reason, null),

    addDamage({ from, to, path, offset, isFileMissing }: Damage): void {
      const what = isFileMissing ? 'is gone' : 'is damaged';
      const reason = `damaged: what was stored at byte ${offset} of ${path} ${what}`;
      // Keep the known reason, which may name batches, only if the range is the same.
      const isKnown = knownDeadLetter.get(from)?.['damaged_through'] === to;
      addDeadLetter(from, '', isKnown ? undefined : reason, to);
    },
  };
}
