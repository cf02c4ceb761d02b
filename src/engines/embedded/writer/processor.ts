import type { BatchScanner, ScannedBatch } from '../../../domain/fast/batch-scanner.ts';
import type { CounterTable } from '../../../domain/fast/counter-table.ts';
import type { ScanMemory } from '../../../domain/fast/scan-memory.ts';
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
import type { Opened } from './messages.ts';
import { isSqliteBusy } from '../../../util/sqlite.ts';

interface LogProcessorOptions {
  readonly store: SqliteCounterStore;
  readonly reader: LogReader;
  /** The day rule of the log. */
  readonly dayZone: string;
  /** The memory of the ring, whose bodies are then scanned where they are. */
  readonly scanMemory?: ScanMemory | undefined;
  /** The end of the log's last durable record. */
  readonly durableEnd: () => LogPosition;
  /** Called after each transaction, with the new position and the number of items counted. */
  readonly onCounted: (through: LogPosition, items: number) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** Maximum number of keys held in memory; records beyond it are read back from the log later. */
const heldKeysMax = 10_000;
/** Bytes read back from the log per step: some ten milliseconds of counting. */
const stepBytes = 1024 * 1024;
const stepMs = 20;

/** A counter of the scanned body, with its number in the table until the next step. */
export interface ScannedCounter {
  readonly number: number;
  readonly counter: Counter;
}

export type CountingState = 'idle' | 'behind' | 'busy' | 'undurable';

/** A span of the log whose increments are in the counter table, to be counted in the next step. */
interface Held {
  readonly from: LogPosition;
  to: LogPosition;
  readonly keys: KeyedBatch[];
  readonly replayed: ReplayedRecord[];
  items: number;
}

/** The delivery that one step counts, and its number of items. */
interface Step {
  readonly delivery: LogDelivery;
  readonly items: number;
}

/**
 * Counts the log into the database. At the log's end it uses the increments that the intake has
 * already computed; behind it (after a restart, or while the database was locked) it reads the log.
 * Either way it counts each record once, in the order of the log.
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
    this.#records = new RecordCounter(options.dayZone, options.scanMemory);
    this.#counters = this.#records.table;
    this.#scanner = this.#records.scanner;
  }

  /** Whether nothing more may be held before the next step. */
  get isFull(): boolean {
    const { keys, replayed } = this.#held ?? { keys: [], replayed: [] };
    return this.#records.isFull || keys.length + replayed.length >= heldKeysMax;
  }

  get scanner(): Opened['scanner'] {
    return this.#counters.kernel.isCompiled ? 'webassembly' : 'typescript';
  }

  /** Scans a body of the common shape; undefined for others. */
  scan(bytes: Uint8Array, from: number, to: number): ScannedBatch | undefined {
    return this.#scanner.scan(bytes, from, to);
  }

  /** The counters of a scanned body that are not recorded as admitted. */
  unadmitted(scanned: ScannedBatch): readonly ScannedCounter[] {
    return scanned
      .newCounters()
      .map((number) => ({ number, counter: this.#counters.counter(number) }));
  }

  /**
   * Records that counters are admitted, until the table is cleared or `forgetAdmitted` is called.
   */
  cacheAdmitted(counters: readonly ScannedCounter[]): void {
    this.#counters.admit(counters.map(({ number }) => number));
  }

  forgetAdmitted(): void {
    this.#counters.forgetAdmissions();
  }

  /** Like `offer`, for a scanned body. */
  addScanned(span: LogSpan, scanned: ScannedBatch): void {
    if (this.#hold(span, scanned.items) !== undefined) scanned.count();
  }

  /**
   * Holds a delivery if it directly follows the counted and held records; otherwise a later step
   * reads it from the log.
   */
  offer({ dedupKey, increments, keys, replayed = [] }: LogDelivery, items: number): void {
    const held = this.#hold(dedupKey, items);
    if (held === undefined) return;
    this.#counters.addIncrements(increments);
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
   * Counts the held delivery, or else a piece of the log. `behind`: there is more to count; `busy`:
   * another process has locked the database, so retry later; `undurable`: the held delivery is not
   * durable yet, and a record must not be counted before it is.
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
      // A piece that was read will be read again; a held delivery stays held.
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
    const increments = this.#counters.increments();
    return {
      delivery: { dedupKey: { from, to }, increments, ...rest, deadLetters: [] },
      items,
    };
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
      // Compressed bodies may hold many items in few bytes, so limit the time, too.
      const isEnough = to - from >= stepBytes || this.#records.isFull;
      if (isEnough || now() - startedAt >= stepMs) break;
    }
    if (to === from) throw noRecordAt(from);
    const increments = this.#counters.increments();
    return {
      delivery: { dedupKey: { from, to }, increments, keys, replayed, deadLetters },
      items,
    };
  }
}

/** The idempotency key of a record, if any; copies the bytes of the record's buffer. */
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

/** The record as a replayed batch, if it is one. */
export function replayedOf({ originId, position }: LogRecord): ReplayedRecord | undefined {
  return originId === undefined ? undefined : { batchId: originId, position };
}

function deadLetterOf(record: LogRecord, reason: string, failedAt: number): LogDeadLetter {
  return { position: record.position, batchId: batchIdOf(record), reason, failedAt };
}
