import { formatBatchId } from '../../domain/batch-id.ts';
import { mergeTally, type Tally } from '../../domain/counter.ts';
import { recount } from '../../pipeline/process.ts';
import { LogDamaged } from './log-recovery.ts';
import type { LogPosition, LogRecord } from './log-frame.ts';
import type { LogReader } from './log-reader.ts';
import type { KeyedBatch, LogDeadLetter, LogDelivery } from './sqlite-counter-store.ts';
import type { SqliteCounterStore } from './sqlite-counter-store.ts';
import { isSqliteBusy } from './sqlite-errors.ts';

export interface LogProcessorOptions {
  readonly store: SqliteCounterStore;
  readonly reader: LogReader;
  /** The end of what is durable in the log. */
  readonly durableEnd: () => LogPosition;
  /** Called after each transaction, with the position it has come to. */
  readonly onCounted: (through: LogPosition) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** Held in memory at most: beyond it, what comes is read back from the log later. */
const heldCountersMax = 20_000;
const heldKeysMax = 10_000;
/** Read back from the log in one step: some ten milliseconds' worth of counting. */
const stepBytes = 1024 * 1024;
const stepMs = 20;

interface Held {
  readonly tally: Tally;
  readonly keys: KeyedBatch[];
  readonly from: LogPosition;
  to: LogPosition;
  counters: number;
}

/**
 * Follows the log and counts it into the database. Where it stands at the log's end, it takes the
 * tally that the intake has made already; where it is behind (after a restart, or when the
 * database was held up), it reads the log. Either way each record is counted at its place in the
 * log, once.
 */
export class LogProcessor {
  readonly #options: LogProcessorOptions;
  #held: Held | undefined;
  #isApplying = false;

  constructor(options: LogProcessorOptions) {
    this.#options = options;
  }

  /** Takes a delivery if it follows what is counted and held; else it will be read from the log. */
  offer({ mark, tally, keys }: LogDelivery): void {
    const reached = this.#held?.to ?? this.#options.store.position;
    if (this.#isApplying || mark.from !== reached) return;
    const held = this.#held ?? emptyHeld(mark.from);
    if (held.counters >= heldCountersMax || held.keys.length >= heldKeysMax) return;
    held.counters += mergeTally(held.tally, tally);
    held.keys.push(...keys);
    held.to = mark.to;
    this.#held = held;
  }

  /**
   * Counts what is held, or else a piece of what the log has. `behind`: there is more to do now;
   * `busy`: somebody holds the database, try again later.
   * @throws {LogDamaged}, or SQLite's errors.
   */
  async step(): Promise<'idle' | 'behind' | 'busy'> {
    const delivery = this.#heldDelivery() ?? this.#readDelivery();
    if (delivery === undefined) return 'idle';
    this.#isApplying = true;
    try {
      await this.#options.store.apply([delivery]);
    } catch (error) {
      if (isSqliteBusy(error)) return 'busy';
      throw error;
    } finally {
      this.#isApplying = false;
    }
    this.#held = undefined;
    this.#options.onCounted(this.#options.store.position);
    return this.#options.store.position < this.#options.durableEnd() ? 'behind' : 'idle';
  }

  #heldDelivery(): LogDelivery | undefined {
    if (this.#held === undefined) return undefined;
    const { from, to, tally, keys } = this.#held;
    return { mark: { from, to }, tally, keys, deadLetters: [] };
  }

  #readDelivery(): LogDelivery | undefined {
    const { store, reader, durableEnd, now } = this.#options;
    const through = durableEnd();
    const from = store.position;
    if (from >= through) return undefined;
    const tally: Tally = new Map();
    const keys: KeyedBatch[] = [];
    const deadLetters: LogDeadLetter[] = [];
    let to = from;
    let counters = 0;
    const startedAt = now();
    for (const { record, end } of reader.records(from, through)) {
      const counted = recount(record);
      if (counted.reason === undefined) counters += mergeTally(tally, counted.tally);
      else deadLetters.push(deadLetterOf(record, counted.reason, now()));
      const key = keyOf(record);
      if (key !== undefined) keys.push(key);
      to = end;
      // Compressed bodies may hold much in few bytes.
      const isEnough = to - from >= stepBytes || counters >= heldCountersMax;
      if (isEnough || now() - startedAt >= stepMs) break;
    }
    if (to === from) {
      throw new LogDamaged(
        `The log is damaged: no sound record stands at byte ${from}, though it was safely stored.`,
      );
    }
    return { mark: { from, to }, tally, keys, deadLetters };
  }
}

function emptyHeld(from: LogPosition): Held {
  return { tally: new Map(), keys: [], from, to: from, counters: 0 };
}

/** The idempotency key of a record, with copies of the bytes that its buffer shares. */
export function keyOf(record: LogRecord): KeyedBatch | undefined {
  const { idempotency, caller, batchId, receivedAt } = record;
  if (idempotency === undefined) return undefined;
  const { key, bodySha256 } = idempotency;
  return {
    caller,
    key,
    bodySha256: Uint8Array.from(bodySha256),
    batchId: formatBatchId(batchId),
    receivedAt,
  };
}

function deadLetterOf(
  { position, batchId }: LogRecord,
  reason: string,
  failedAt: number,
): LogDeadLetter {
  return { position, batchId: formatBatchId(batchId), reason, failedAt };
}
