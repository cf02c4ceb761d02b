import { admitInOrder, counterName, type Counter } from '../../../domain/day-bound.ts';
import { CounterSet } from '../../../domain/counter-set.ts';
import { rowsOfIncrements, type Increments } from '../../../domain/counter.ts';
import { dayRule, type DayOf } from '../../../domain/day.ts';
import type { CalendarDate } from '../../../domain/timestamp.ts';
import { rejectOverLimitItems } from '../../../pipeline/exclusions.ts';
import { Unavailable, type Batch } from '../../../pipeline/ports.ts';
import type { LogPosition } from '../log/frame.ts';
import type { ScannedRecord } from '../log/frame-scanner.ts';
import { RecordCounter } from '../store/record-counter.ts';
import type { SqliteCounterStore } from '../store/counter-store.ts';

export interface CounterAdmissionOptions {
  readonly store: Pick<SqliteCounterStore, 'position' | 'pollChange' | 'withoutRow' | 'countersOn'>;
  readonly countersPerDayMax: number;
  /** The day rule of the log. */
  readonly dayZone: string;
  /**
   * Called when another process may have removed counters: what is cached about them is invalid.
   */
  readonly onForget: () => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** Size at which a generation of known counters is replaced; two are kept. */
const knownMax = 65_536;
/** Maximum number of pending counters, apart from those of one batch. */
const pendingMax = 200_000;
/** Maximum number of days whose sizes are cached. */
const daysMax = 4_096;
/** Time limit for reading uncounted records at the start; new counters wait until the rest is counted. */
const readUncountedMs = 2_000;
/** Bytes of uncounted records whose counters are looked up together, since most of them recur. */
const lookUpBytes = 1024 * 1024;

/** New counters, without duplicates. */
export type NewCounters = readonly { readonly counter: Counter }[];

interface Pending {
  readonly date: CalendarDate;
  /** The end of the record that creates the counter. */
  readonly end: LogPosition;
}

/** Uncounted records whose counters are not looked up yet. */
interface ReadRecords {
  readonly counter: RecordCounter;
  from: LogPosition;
  end: LogPosition;
}

/**
 * Enforces the maximum number of counters per day. A day's counters are those with a row and the
 * pending ones of batches that are staged but not counted. Both are known exactly, because one thread
 * stages and counts.
 */
export class CounterAdmission {
  readonly #options: CounterAdmissionOptions;
  readonly #dayOf: DayOf;
  /** Counters that have a row or are pending: the current and the previous generation of the cache. */
  #known = new CounterSet();
  #knownBefore = new CounterSet();
  /** In the order of the log. */
  readonly #pending = new Map<string, Pending>();
  readonly #pendingOn = new Map<CalendarDate, number>();
  /** Counters per day, including pending ones; the most recently used day is last. */
  readonly #sizes = new Map<CalendarDate, number>();
  /** The end of the uncounted records that the start did not read. */
  #unreadThrough: LogPosition = 0;
  /** Another process may have added rows of pending counters, so that sizes include them twice. */
  #mayCountTwice = false;
  #read: ReadRecords | undefined;
  #readUntil: number | undefined;

  constructor(options: CounterAdmissionOptions) {
    this.#options = options;
    this.#dayOf = dayRule(options.dayZone);
  }

  /** Adds an uncounted record at the start; call it in the order of the log. */
  addUncounted({ record, end }: ScannedRecord): void {
    const { dayZone } = this.#options;
    const now = this.#options.now();
    this.#readUntil ??= now + readUncountedMs;
    if (now > this.#readUntil || this.#pending.size >= pendingMax) {
      this.#unreadThrough = end;
      return;
    }
    const read = (this.#read ??= {
      counter: new RecordCounter(dayZone),
      from: record.position,
      end,
    });
    read.counter.count(record);
    read.end = end;
    if (end - read.from >= lookUpBytes || read.counter.isFull) this.#addPendingOfRead(read);
  }

  /** Call it after the last `addUncounted`. */
  finishUncounted(): void {
    if (this.#read !== undefined) this.#addPendingOfRead(this.#read);
    this.#read = undefined;
  }

  /** Treats the last record as the one that creates all the counters, since it is counted last. */
  #addPendingOfRead(read: ReadRecords): void {
    this.addPending(this.#withoutRow(entriesOf(read.counter.takeIncrements())), read.end);
    read.from = read.end;
  }

  /**
   * Returns the entries whose counters have no row and are not pending.
   * @throws {Unavailable} if that cannot be checked yet, or too many counters are pending.
   */
  newCounters<T extends { readonly counter: Counter }>(entries: readonly T[]): T[] {
    const unknown = entries.filter(({ counter }) => !this.#isKnown(counter));
    if (unknown.length === 0) return unknown;
    this.checkForChanges();
    this.#forgetCounted();
    const newCounters = this.#withoutRow(unknown);
    if (newCounters.length > 0) this.#checkCapacity(newCounters.length);
    return newCounters;
  }

  /** Whether the days' limits allow all of them. */
  hasRoomFor(newCounters: NewCounters): boolean {
    const byDay = new Map<CalendarDate, number>();
    for (const { counter } of newCounters) {
      byDay.set(counter.date, (byDay.get(counter.date) ?? 0) + 1);
    }
    for (const [date, count] of byDay) if (count > this.#roomOn(date)) return false;
    return true;
  }

  /**
   * The batch without its over-limit items, and the counters that it creates.
   * @throws {AllItemsOverLimit | Unavailable}
   */
  admit(batch: Batch): { readonly batch: Batch; readonly newCounters: NewCounters } {
    if (this.#known.hasAll(batch.increments)) return { batch, newCounters: [] };
    const newCounters = this.newCounters(entriesOf(batch.increments));
    if (batch.excluded !== undefined || this.hasRoomFor(newCounters)) return { batch, newCounters };
    const isNew = new Set(newCounters.map(({ counter }) => nameOf(counter)));
    const has = (counter: Counter) => !isNew.has(nameOf(counter));
    const newCountersLeft = (date: CalendarDate) => this.#roomOn(date);
    const left = rejectOverLimitItems(batch, this.#dayOf, admitInOrder({ has, newCountersLeft }));
    const begun = entriesOf(left.increments).filter(({ counter }) => isNew.has(nameOf(counter)));
    return { batch: left, newCounters: begun };
  }

  /** Adds counters that a staged record creates; `end` is the record's end. */
  addPending(newCounters: NewCounters, end: LogPosition): void {
    for (const { counter } of newCounters) {
      const { date } = counter;
      const name = nameOf(counter);
      if (this.#pending.has(name)) continue;
      this.#pending.set(name, { date, end });
      this.#pendingOn.set(date, (this.#pendingOn.get(date) ?? 0) + 1);
      const size = this.#sizes.get(date);
      if (size !== undefined) this.#sizes.set(date, size + 1);
      this.#cache(counter);
    }
  }

  /** Discards cached knowledge that another process may have invalidated; call it periodically. */
  checkForChanges(): void {
    const change = this.#options.store.pollChange();
    if (change === 'none') return;
    this.#sizes.clear();
    this.#mayCountTwice = this.#pending.size > 0;
    if (change === 'added') return;
    this.#known = new CounterSet();
    this.#knownBefore = new CounterSet();
    this.#options.onForget();
  }

  #isKnown(counter: Counter): boolean {
    if (this.#known.has(counter)) return true;
    if (!this.#knownBefore.has(counter) && !this.#pending.has(nameOf(counter))) return false;
    this.#cache(counter);
    return true;
  }

  #cache(counter: Counter): void {
    if (this.#known.size >= knownMax) {
      this.#knownBefore = this.#known;
      this.#known = new CounterSet();
    }
    this.#known.add(counter);
  }

  /** Returns the entries without a row that are not pending; caches the others as known. */
  #withoutRow<T extends { readonly counter: Counter }>(entries: readonly T[]): T[] {
    const unknown = entries.filter(({ counter }) => !this.#pending.has(nameOf(counter)));
    const missing = this.#options.store.withoutRow(unknown);
    const isMissing = new Set(missing);
    for (const each of unknown) if (!isMissing.has(each)) this.#cache(each.counter);
    return missing;
  }

  #roomOn(date: CalendarDate): number {
    return Math.max(0, this.#options.countersPerDayMax - this.#sizeOf(date));
  }

  #sizeOf(date: CalendarDate): number {
    this.#forgetCounted();
    const known = this.#sizes.get(date);
    const size = known ?? this.#options.store.countersOn(date) + (this.#pendingOn.get(date) ?? 0);
    this.#sizes.delete(date);
    this.#sizes.set(date, size);
    if (this.#sizes.size > daysMax) {
      const [oldest] = this.#sizes.keys();
      if (oldest !== undefined) this.#sizes.delete(oldest);
    }
    return size;
  }

  /** Removes pending counters whose records are counted: they have rows now. */
  #forgetCounted(): void {
    const { position } = this.#options.store;
    for (const [name, { date, end }] of this.#pending) {
      if (end > position) return;
      this.#pending.delete(name);
      const left = (this.#pendingOn.get(date) ?? 0) - 1;
      if (left > 0) this.#pendingOn.set(date, left);
      else this.#pendingOn.delete(date);
    }
    if (!this.#mayCountTwice) return;
    this.#mayCountTwice = false;
    this.#sizes.clear();
  }

  #checkCapacity(more: number): void {
    const { position } = this.#options.store;
    const isUnread = position < this.#unreadThrough;
    const isFull = this.#pending.size > 0 && this.#pending.size + more > pendingMax;
    if (!isUnread && !isFull) return;
    throw new Unavailable(
      'overloaded',
      'The batch needs new counters, but the server cannot check the limits of their days until it has counted more of the backlog. Nothing was stored; send the batch again after a moment.',
    );
  }
}

function entriesOf(increments: Increments): { readonly counter: Counter }[] {
  return [...rowsOfIncrements(increments)].map((counter) => ({ counter }));
}

function nameOf(counter: Counter): string {
  return counter.date + counterName(counter);
}
