import type { BatchScanner } from '../../../domain/fast/batch-scanner.ts';
import type { CounterTable } from '../../../domain/fast/counter-table.ts';
import type { Counter } from '../../../domain/day-bound.ts';
import { noRecordAt } from '../log/recovery.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import type { LogReader } from '../log/log-reader.ts';
import { RecordCounter } from '../store/record-counter.ts';
import { batchIdOf } from '../log/record-identity.ts';
import type {
  KeyedBatch,
  LogDeadLetter,
  LogDelivery,
  LogSpan,
  ReplayedRecord,
  SqliteCounterStore,
} from '../store/counter-store.ts';
import { isSqliteBusy } from '../store/sqlite-errors.ts';

interface LogProcessorOptions {
  readonly store: SqliteCounterStore;
  readonly reader: LogReader;
  /** The day rule of the log. */
  readonly dayZone: string;
  /** The end of what is durable in the log. */
  readonly durableEnd: () => LogPosition;
  /** Called after each transaction, with the position it has come to and the items up to there. */
  readonly onCounted: (through: LogPosition, items: number) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** Held in memory at most: beyond it, what comes is read back from the log later. */
const heldKeysMax = 10_000;
/** Read back from the log in one step: some ten milliseconds' worth of counting. */
const stepBytes = 1024 * 1024;
const stepMs = 20;

/** A counter that the scanner has met, by its number until the next step. */
export interface ScannedCounter {
  readonly number: number;
  readonly counter: Counter;
}

export type CountingState = 'idle' | 'behind' | 'busy' | 'undurable';

/** A span of the log whose increments stand in the table. */
interface Held {
  readonly from: LogPosition;
  to: LogPosition;
  readonly keys: KeyedBatch[];
  readonly replayed: ReplayedRecord[];
  items: number;
}

/** What is counted in one step, and of how many items. */
interface Step {
  readonly delivery: LogDelivery;
  readonly items: number;
}

/**
 * Follows the log and counts it into the database. Where it stands at the log's end, it takes the
 * tally that the intake has made already; where it is behind (after a restart, or when the
 * database was held up), it reads the log. Either way each record is counted at its place in the
 * log, once.
 */
export class LogProcessor {
  readonly #options: LogProcessorOptions;
  readonly #records: RecordCounter;
  readonly #counters: CounterTable;
  readonly #scanner: BatchScanner;
  #held: Held | undefined;
  #isApplying = false;

  constructor(options: LogProcessorOptions) {
    this.#options = options;
    this.#records = new RecordCounter(options.dayZone);
    this.#counters = this.#records.table;
    this.#scanner = this.#records.scanner;
  }

  /** Whether what is held should be counted soon: nothing more may be held. */
  get isFull(): boolean {
    const { keys, replayed } = this.#held ?? { keys: [], replayed: [] };
    return this.#records.isFull || keys.length + replayed.length >= heldKeysMax;
  }

  /** The items of a body of the common shape, to be taken by `takeScanned`; else `notPlain`. */
  scan(bytes: Uint8Array, from: number, to: number): number {
    return this.#scanner.scan(bytes, from, to);
  }

  /** The counters of the body scanned last of which it is not known that they are admitted. */
  unadmitted(): readonly ScannedCounter[] {
    const numbers = this.#scanner.unadmitted();
    return numbers.map((number) => ({ number, counter: this.#counters.counter(number) }));
  }

  /** Remembers, for a while, that they are. */
  rememberAdmitted(counters: readonly ScannedCounter[]): void {
    this.#counters.admit(counters.map(({ number }) => number));
  }

  forgetAdmitted(): void {
    this.#counters.forgetAdmitted();
  }

  /** Takes the body scanned last, staged at a place in the log, as `offer` does. */
  addScanned(mark: LogSpan, items: number): void {
    if (this.#hold(mark, items) !== undefined) this.#scanner.count();
  }

  /** Takes a delivery if it follows what is counted and held; else it will be read from the log. */
  offer({ mark, tally, keys, replayed = [] }: LogDelivery, items: number): void {
    const held = this.#hold(mark, items);
    if (held === undefined) return;
    this.#counters.addTally(tally);
    held.keys.push(...keys);
    held.replayed.push(...replayed);
  }

  #hold({ from, to }: LogSpan, items: number): Held | undefined {
    const reached = this.#held?.to ?? this.#options.store.position;
    if (this.#isApplying || from !== reached || this.isFull) return undefined;
    this.#held ??= { from, to, keys: [], replayed: [], items: 0 };
    this.#held.to = to;
    this.#held.items += items;
    return this.#held;
  }

  /**
   * Counts what is held, or else a piece of what the log has. `behind`: there is more to do now;
   * `busy`: somebody holds the database, try again later; `undurable`: what is held is not all
   * durable yet, and what is never may not be counted.
   * @throws {LogDamaged}, or SQLite's errors.
   */
  async step(): Promise<CountingState> {
    if ((this.#held?.to ?? 0) > this.#options.durableEnd()) return 'undurable';
    const step = this.#heldDelivery() ?? this.#readDelivery();
    if (step === undefined) return 'idle';
    this.#isApplying = true;
    try {
      await this.#options.store.apply([step.delivery]);
    } catch (error) {
      // What was read will be read again; what is held is held on.
      if (this.#held === undefined) this.#counters.clear();
      if (isSqliteBusy(error)) return 'busy';
      throw error;
    } finally {
      this.#isApplying = false;
    }
    this.#held = undefined;
    this.#counters.clear();
    this.#options.onCounted(this.#options.store.position, step.items);
    return this.#options.store.position < this.#options.durableEnd() ? 'behind' : 'idle';
  }

  #heldDelivery(): Step | undefined {
    if (this.#held === undefined) return undefined;
    const { from, to, items, ...rest } = this.#held;
    const tally = this.#counters.tally();
    return { delivery: { mark: { from, to }, tally, ...rest, deadLetters: [] }, items };
  }

  #readDelivery(): Step | undefined {
    const { store, reader, durableEnd, now } = this.#options;
    const through = durableEnd();
    const from = store.position;
    if (this.#held !== undefined || from >= through) return undefined;
    const keys: KeyedBatch[] = [];
    const replayed: ReplayedRecord[] = [];
    const deadLetters: LogDeadLetter[] = [];
    let [to, items] = [from, 0];
    const startedAt = now();
    for (const { record, end } of reader.records(from, through)) {
      const reason = this.#records.count(record);
      items += record.accepted;
      if (reason !== undefined) deadLetters.push(deadLetterOf(record, reason, now()));
      const key = keyOf(record);
      if (key !== undefined) keys.push(key);
      const origin = replayedOf(record);
      if (origin !== undefined) replayed.push(origin);
      to = end;
      // Compressed bodies may hold much in few bytes.
      const isEnough = to - from >= stepBytes || this.#records.isFull;
      if (isEnough || now() - startedAt >= stepMs) break;
    }
    if (to === from) throw noRecordAt(from);
    const tally = this.#counters.tally();
    return { delivery: { mark: { from, to }, tally, keys, replayed, deadLetters }, items };
  }
}

/** The idempotency key of a record, with copies of the bytes that its buffer shares. */
export function keyOf(record: LogRecord): KeyedBatch | undefined {
  const { idempotency, caller, position, receivedAt } = record;
  if (idempotency === undefined) return undefined;
  const { key, bodySha256 } = idempotency;
  return {
    caller,
    key,
    bodySha256: Uint8Array.from(bodySha256),
    batchId: batchIdOf(record),
    receivedAt,
    position,
  };
}

/** The record as a batch that came from another installation, if it did. */
export function replayedOf({ originId, position }: LogRecord): ReplayedRecord | undefined {
  return originId === undefined ? undefined : { batchId: originId, position };
}

function deadLetterOf(record: LogRecord, reason: string, failedAt: number): LogDeadLetter {
  return { position: record.position, batchId: batchIdOf(record), reason, failedAt };
}
