import type { DatabaseSync } from 'node:sqlite';

import type { BatchId } from '../../../domain/batch-id.ts';
import {
  rowsOfIncrements,
  typeStateKey,
  type CounterRow,
  type Increments,
} from '../../../domain/counter.ts';
import type { Counter } from '../../../domain/day-bound.ts';
import type { CalendarDate } from '../../../domain/timestamp.ts';
import type {
  CounterStore,
  DeadLetterReason,
  Delivery,
  EarlierBatch,
} from '../../../pipeline/ports.ts';
import { journalBytes } from './journal-check.ts';
import { LogAge, type Transact } from './log-age.ts';
import type { LogPosition } from '../log/frame.ts';
import { inTransaction, journalBytesMax } from './schema.ts';
import { transaction } from '../../../util/sqlite.ts';

/** Consecutive records of the log: from the end of the record before them to the end of the last. */
export interface LogSpan {
  readonly from: LogPosition;
  readonly to: LogPosition;
}

export interface KeyedBatch extends EarlierBatch {
  readonly caller: string;
  readonly key: string;
  /** The position of its record. */
  readonly position: LogPosition;
}

/** A replayed batch, and the position of its record. */
export interface ReplayedRecord {
  readonly batchId: BatchId;
  readonly position: LogPosition;
}

export interface LogDeadLetter {
  readonly position: LogPosition;
  readonly batchId: BatchId;
  readonly reason: string;
  /** Milliseconds since 1970. */
  readonly failedAt: number;
}

/** The rows that counting a span of the log adds to the database. */
export interface LogDelivery extends Delivery<LogSpan> {
  readonly keys: readonly KeyedBatch[];
  readonly replayed?: readonly ReplayedRecord[];
  readonly deadLetters: readonly LogDeadLetter[];
}

/**
 * `added`: another process has counted dead letters. `replaced`: a rebuild has replaced the counters,
 * or a record became a dead letter. Changes by hand are not detected.
 */
export type CountersChange = 'none' | 'added' | 'replaced';

/**
 * The counters, the idempotency keys and the position in the log, always updated in one transaction.
 * Records before the position are counted, those after it are not: so each counts exactly once.
 */
export class SqliteCounterStore implements CounterStore<LogSpan, LogDelivery> {
  readonly age: LogAge;
  readonly #database: DatabaseSync;
  readonly #transact: Transact;
  readonly #sql: ReturnType<typeof prepareStatements>;
  #seen = { data: 0, schema: 0 };
  #change: CountersChange = 'none';
  #position: LogPosition;
  #removedThrough: LogPosition;
  #deadLetters: number;
  #deadLetterReasons: readonly DeadLetterReason[] | undefined;
  #latestDate: CalendarDate | undefined;

  /**
   * @param database from `openDatabase`. This store is its only writer, except for short
   *   transactions of operators' commands.
   * @param elapsedMs a monotonic clock, in milliseconds.
   * @param onTransaction called with the duration of each transaction that writes, in milliseconds.
   */
  constructor(
    database: DatabaseSync,
    elapsedMs: () => number = () => performance.now(),
    onTransaction: (milliseconds: number) => void = () => undefined,
  ) {
    this.#database = database;
    this.#transact = (act) => {
      const startedAt = elapsedMs();
      const result = inTransaction(database, act);
      onTransaction(elapsedMs() - startedAt);
      return result;
    };
    this.age = new LogAge(database, elapsedMs, this.#transact);
    this.#sql = prepareStatements(database);
    const progress = database.prepare('SELECT position, removed_through FROM progress').get();
    if (progress === undefined) {
      throw new Error(
        'pipeline.db does not say through which byte the log is counted: its table progress is empty. Run rebuild to count the log again.',
      );
    }
    this.#position = Number(progress['position']);
    this.#removedThrough = Number(progress['removed_through']);
    this.#deadLetters = 0;
    this.#latestDate = this.#readLatestDate();
    this.refreshDeadLetterCount();
    this.pollChange();
  }

  /** Call it periodically, because other processes may redrive dead letters. */
  refreshDeadLetterCount(): void {
    const row = this.#database.prepare('SELECT count(*) AS count FROM dead_letters').get();
    const count = Number(row?.['count']);
    if (count < this.#deadLetters && this.#change === 'none') this.#change = 'added';
    this.#deadLetters = count;
    this.#deadLetterReasons = count === 0 ? undefined : this.#readDeadLetterReasons();
  }

  #readDeadLetterReasons(): DeadLetterReason[] {
    const rows = this.#sql.deadLetterReasons.all(reasonsMax);
    return rows.map(({ code, count }) => ({ reason: String(code), count: Number(count) }));
  }

  /** How other processes have changed the counters since the last call. */
  pollChange(): CountersChange {
    const data = Number(this.#sql.dataVersion.get()?.['data_version']);
    if (data !== this.#seen.data) {
      const schema = Number(this.#sql.schemaVersion.get()?.['schema_version']);
      this.refreshDeadLetterCount();
      if (schema !== this.#seen.schema) this.#change = 'replaced';
      this.#seen = { data, schema };
    }
    const change = this.#change;
    this.#change = 'none';
    return change;
  }

  /** Returns the entries whose counters have no row. */
  withoutRow<T extends { readonly counter: Counter }>(entries: readonly T[]): T[] {
    const missing = () =>
      entries.filter(({ counter: { date, type, state } }) => {
        return this.#sql.hasCounter.get(date, typeStateKey(type, state)) === undefined;
      });
    // A single read transaction for all is several times as fast as one for each.
    return entries.length < 2 ? missing() : transaction(this.#database, 'BEGIN', missing);
  }

  /** The number of a day's counters. */
  countersOn(date: CalendarDate): number {
    return Number(this.#sql.countDay.get(date)?.['count']);
  }

  /** The number of dead letters, as of the last refresh or commit. */
  get deadLetters(): number {
    return this.#deadLetters;
  }

  /** The most frequent reasons; undefined without dead letters. */
  get deadLetterReasons(): readonly DeadLetterReason[] | undefined {
    return this.#deadLetterReasons;
  }

  /** The latest date with counts, as of the last commit. */
  get latestDate(): CalendarDate | undefined {
    return this.#latestDate;
  }

  /** The log is counted up to this position. */
  get position(): LogPosition {
    return this.#position;
  }

  /** `removed_counters` holds the increments of all records before this, so their segments may be removed. */
  get removedThrough(): LogPosition {
    return this.#removedThrough;
  }

  /** The id of the log to which the counters belong; undefined before `adoptLog`. */
  logId(): Uint8Array | undefined {
    const row = this.#database.prepare('SELECT log_id FROM progress').get();
    return (row?.['log_id'] as Uint8Array | null | undefined) ?? undefined;
  }

  adoptLog(logId: Uint8Array): void {
    this.#transact(() => {
      this.#database.prepare('UPDATE progress SET log_id = ?').run(logId);
    });
  }

  /**
   * Counts deliveries in the order of the log.
   * @throws SQLite's errors, or an error if a delivery does not begin where the one before it ends;
   *   then none of the deliveries is counted.
   */
  // oxlint-disable-next-line typescript/require-await -- the port is asynchronous, SQLite is not
  async apply(deliveries: readonly LogDelivery[]) {
    const counted: LogDelivery[] = [];
    const repeated: LogDelivery[] = [];
    let position = this.#position;
    for (const delivery of deliveries) {
      const { from, to } = delivery.dedupKey;
      if (to <= position) {
        repeated.push(delivery);
        continue;
      }
      if (from !== position) {
        const why = from < position ? 'are partly counted, through' : 'come later than';
        throw new Error(`bytes ${from} to ${to} of the log ${why} byte ${position}`);
      }
      counted.push(delivery);
      position = to;
    }
    if (counted.length > 0) this.#commit(counted, position);
    return { counted, repeated };
  }

  findKey(caller: string, key: string): EarlierBatch | undefined {
    const row = this.#sql.findKey.get(caller, key);
    if (row === undefined) return undefined;
    return {
      bodySha256: row['body_sha256'] as Uint8Array,
      batchId: row['batch_id'] as string,
      receivedAt: row['received_at'] as number,
    };
  }

  /** The position of a replayed batch, if it is counted. */
  findReplayed(batchId: BatchId): LogPosition | undefined {
    const row = this.#sql.findReplayed.get(batchId);
    return row === undefined ? undefined : Number(row['position']);
  }

  /** Deletes up to `limit` keys of records before a position; returns their number. */
  expireKeys(through: LogPosition, limit: number): number {
    if (this.#sql.findExpired.get(through) === undefined) {
      // A stamped commit would write a page every minute. This writes nothing, yet fails if the database is not writable.
      return Number(this.#sql.expireKeys.run(through, 0).changes);
    }
    return this.#transact(() => {
      this.#database
        .prepare('UPDATE progress SET keys_expired_through = max(keys_expired_through, ?)')
        .run(through);
      return Number(this.#sql.expireKeys.run(through, limit).changes);
    });
  }

  /** Adds the increments of the records from `removedThrough` up to a position to `removed_counters`. */
  recordRemoved(increments: Increments, through: LogPosition): void {
    this.#transact(() => {
      this.#sql.addRemoved(rowsOfIncrements(increments));
      this.#database.prepare('UPDATE progress SET removed_through = ?').run(through);
    });
    this.#removedThrough = through;
  }

  /** Damaged ranges of the log that are dead letters: their ends by their beginnings. */
  acceptedDamage(): Map<LogPosition, LogPosition> {
    const rows = this.#database
      .prepare(
        'SELECT position, damaged_through FROM dead_letters WHERE damaged_through IS NOT NULL',
      )
      .all();
    return new Map(rows.map((row) => [Number(row['position']), Number(row['damaged_through'])]));
  }

  /** Whether the record at a position is a dead letter. */
  isDeadLetter(position: LogPosition): boolean {
    return this.#sql.findDeadLetter.get(position) !== undefined;
  }

  /**
   * Makes all commits durable and returns the position they have reached; undefined if a reader
   * prevents that.
   */
  checkpoint(): LogPosition | undefined {
    const position = this.#position;
    const result = this.#database.prepare('PRAGMA wal_checkpoint(FULL)').get();
    return result?.['busy'] === 0 ? position : undefined;
  }

  /** Truncates a journal that has grown too large, unless a reader prevents that. */
  shrinkJournal(): void {
    const path = this.#database.location();
    if (path === null || journalBytes(path) <= journalBytesMax) return;
    this.#database.prepare('PRAGMA wal_checkpoint(TRUNCATE)').get();
  }

  close(): void {
    this.#database.close();
  }

  #commit(deliveries: readonly LogDelivery[], position: LogPosition): void {
    this.#latestDate = this.#transact(() => {
      for (const { increments, keys, replayed = [], deadLetters } of deliveries) {
        this.#sql.add(rowsOfIncrements(increments));
        for (const key of keys) this.#sql.addKey(key);
        for (const each of replayed) this.#sql.addReplayed(each);
        for (const { position: place, batchId, reason, failedAt } of deadLetters) {
          this.#sql.addDeadLetter.run(place, batchId, reason, failedAt, failedAt);
        }
      }
      if (this.#sql.advancePosition.run(position, this.age.runMs(), this.#position).changes !== 1) {
        throw new Error(
          'another process has changed the position in pipeline.db; stop that process',
        );
      }
      return this.#readLatestDate();
    });
    this.#position = position;
    for (const { deadLetters } of deliveries) {
      this.#deadLetters += deadLetters.length;
      if (deadLetters.length === 0) continue;
      this.#change = 'replaced';
      this.#deadLetterReasons = this.#readDeadLetterReasons();
    }
  }

  #readLatestDate(): CalendarDate | undefined {
    const date = this.#sql.lastDay.get()?.['date'];
    return typeof date === 'string' ? date : undefined;
  }
}

/** The number of dead-letter reasons to report. */
const reasonsMax = 5;

function prepareStatements(database: DatabaseSync) {
  const prepare = (sql: string) => database.prepare(sql);
  return {
    add: counterAdder(database, 'counters'),
    addRemoved: counterAdder(database, 'removed_counters'),
    addKey: keyAdder(database, 'idempotency_keys'),
    addReplayed: replayedAdder(database, 'replayed_batches'),
    addDeadLetter: prepare(
      `INSERT INTO dead_letters (position, batch_id, reason, first_failed_at, last_failed_at)
       VALUES (?, ?, ?, ?, ?)`,
    ),
    advancePosition: prepare('UPDATE progress SET position = ?, run_ms = ? WHERE position = ?'),
    findKey: prepare(
      'SELECT body_sha256, batch_id, received_at FROM idempotency_keys WHERE caller = ? AND key = ?',
    ),
    findExpired: prepare('SELECT 1 FROM idempotency_keys WHERE position < ? LIMIT 1'),
    expireKeys: prepare(
      `DELETE FROM idempotency_keys WHERE (caller, key) IN
       (SELECT caller, key FROM idempotency_keys WHERE position < ? LIMIT ?)`,
    ),
    findReplayed: prepare(selectReplayedPosition),
    findDeadLetter: prepare('SELECT 1 FROM dead_letters WHERE position = ?'),
    hasCounter: prepare('SELECT 1 FROM counters WHERE date = ? AND type_state = ?'),
    countDay: prepare('SELECT count(*) AS count FROM counters WHERE date = ?'),
    deadLetterReasons: prepare(
      `SELECT substr(reason, 1, instr(reason || ':', ':') - 1) AS code, count(*) AS count
       FROM dead_letters GROUP BY code ORDER BY count(*) DESC, code LIMIT ?`,
    ),
    lastDay: prepare('SELECT max(date) AS date FROM counters'),
    dataVersion: prepare('PRAGMA data_version'),
    schemaVersion: prepare('PRAGMA schema_version'),
  };
}

/** Prepares a function that adds rows to the counters of a table. */
export function counterAdder(database: DatabaseSync, table: string) {
  const add = database.prepare(
    `INSERT INTO ${table} (date, type_state, type, state, count) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET count = count + excluded.count`,
  );
  return (rows: Iterable<CounterRow>): void => {
    for (const { date, type, state, count } of rows) {
      add.run(date, typeStateKey(type, state), type, state, count);
    }
  };
}

/** Prepares a function that writes an idempotency key; a later batch replaces an earlier one. */
export function keyAdder(database: DatabaseSync, table: string) {
  const add = database.prepare(
    `INSERT INTO ${table} (caller, key, body_sha256, batch_id, received_at, position)
     VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET body_sha256 = excluded.body_sha256,
     batch_id = excluded.batch_id, received_at = excluded.received_at, position = excluded.position`,
  );
  return ({ caller, key, bodySha256, batchId, receivedAt, position }: KeyedBatch): void =>
    void add.run(caller, key, bodySha256, batchId, receivedAt, position);
}

/** Prepares a function that adds a replayed batch. */
export function replayedAdder(database: DatabaseSync, table: string) {
  const add = database.prepare(
    `INSERT INTO ${table} (batch_id, position) VALUES (?, ?) ON CONFLICT DO NOTHING`,
  );
  return ({ batchId, position }: ReplayedRecord): void => void add.run(batchId, position);
}

/** SQL that finds a replayed batch; parameter: batch_id. */
export const selectReplayedPosition = 'SELECT position FROM replayed_batches WHERE batch_id = ?';
