import { addIncrement, mergeIncrements, rowsOfIncrements, type Increments } from '../counter.ts';
import type { Counter } from '../day-bound.ts';
import { ItemKernel } from './item-kernel.ts';
import {
  dateWord,
  entryWords,
  keyAtWord,
  lengthsWord,
  type CounterTableLimits,
  type ScanMemory,
} from './scan-memory.ts';

/** Returned instead of a counter's number when the table cannot hold a new counter. */
export const tableFull = -1;
/** Returned by the kernel for a counter that is not in the table but fits. */
const notFound = -1;

const none: readonly number[] = [];
/**
 * Whether the limit of its day admits a counter; `asked`: already in the list that `newCounters` builds.
 */
const admission = { unknown: 0, admitted: 1, asked: 2 } as const;

/**
 * Increments by counter, for the names that `BatchScanner` reads: a lookup by bytes that creates no
 * strings. An open-addressing hash table in the memory of the kernel, which searches it, with a random
 * seed against chosen collisions. `addIncrements` adds counters
 * with any names. Each counter in the table has a number until `clear`, and a flag whether the limit
 * of its day admits it.
 */
export class CounterTable {
  readonly kernel: ItemKernel;
  readonly #limits: CounterTableLimits;
  /** Counter numbers plus 1, by hash; 0: empty. */
  readonly #slots: Int32Array;
  readonly #entries: Int32Array;
  /** The bytes of all types and states. */
  readonly #keys: Buffer;
  readonly #counts: Float64Array;
  /** The numbers of the counters with increments. */
  readonly #touched: Int32Array;
  #touchedCount = 0;
  readonly #admissions: Uint8Array;
  /** The number of counters in the table that are not admitted. */
  #unadmittedCount = 0;
  #known = 0;
  #keyBytes = 0;
  /** Names from `addIncrements`. */
  #otherIncrements: Increments = new Map();
  #otherSize = 0;

  /**
   * @param random a secret whole number below 2^32.
   * @param module the compiled kernel; without it, TypeScript does its work.
   */
  constructor(memory: ScanMemory, random: number, module?: WebAssembly.Module) {
    const { countersMax, keyBytesMax } = memory.limits;
    this.kernel = new ItemKernel(memory, random, module);
    this.#limits = memory.limits;
    const { buffer } = memory.memory;
    const { slotsAt, slotCount, entriesAt, keysAt } = this.kernel.regions;
    this.#slots = new Int32Array(buffer, slotsAt, slotCount);
    this.#entries = new Int32Array(buffer, entriesAt, countersMax * entryWords);
    this.#keys = Buffer.from(buffer, keysAt, keyBytesMax);
    this.#counts = new Float64Array(countersMax);
    this.#touched = new Int32Array(countersMax);
    this.#admissions = new Uint8Array(countersMax);
  }

  /** The number of counters with increments since the last `clear`; some may be counted twice. */
  get size(): number {
    return this.#touchedCount + this.#otherSize;
  }

  /**
   * Finds or adds the counter with a date (as the number YYYYMMDD) and two names by their addresses in
   * the memory, 1 to 128 bytes of ASCII each. Returns its number, or `tableFull`.
   */
  find(
    date: number,
    typeAt: number,
    typeBytes: number,
    stateAt: number,
    stateBytes: number,
  ): number {
    const { exports } = this.kernel;
    const found = exports.find(date, typeAt, typeBytes, stateAt, stateBytes);
    if (found !== notFound) return found >= 0 ? found : tableFull;
    const { countersMax, keyBytesMax } = this.#limits;
    const keyAt = this.#keyBytes;
    const number = this.#known;
    if (number >= countersMax || keyAt + typeBytes + stateBytes > keyBytesMax) return tableFull;
    exports.add(number, keyAt, date, typeAt, typeBytes, stateAt, stateBytes);
    this.#known++;
    this.#unadmittedCount++;
    this.#keyBytes = keyAt + typeBytes + stateBytes;
    return number;
  }

  /** Adds 1 to each of the first `length` counters of a list of numbers. */
  addEach(numbers: Int32Array, length: number): void {
    const counts = this.#counts;
    for (let index = 0; index < length; index++) {
      const number = numbers[index] as number;
      const before = counts[number] as number;
      if (before === 0) this.#touched[this.#touchedCount++] = number;
      counts[number] = before + 1;
    }
  }

  /** The distinct counters among the first `length` of a list that are not admitted, in order. */
  newCounters(numbers: Int32Array, length: number): readonly number[] {
    if (this.#unadmittedCount === 0) return none;
    const found: number[] = [];
    for (let index = 0; index < length; index++) {
      const number = numbers[index] as number;
      if (this.#admissions[number] !== admission.unknown) continue;
      this.#admissions[number] = admission.asked;
      found.push(number);
    }
    for (const number of found) this.#admissions[number] = admission.unknown;
    return found;
  }

  /** Marks counters as admitted. They must not be admitted yet. */
  admit(numbers: readonly number[]): void {
    for (const number of numbers) this.#admissions[number] = admission.admitted;
    this.#unadmittedCount -= numbers.length;
  }

  /** Marks all counters as not admitted. */
  forgetAdmissions(): void {
    this.#admissions.fill(admission.unknown);
    this.#unadmittedCount = this.#known;
  }

  /** The counter with a number. */
  counter(number: number): Counter {
    const entry = number * entryWords;
    const lengths = this.#entries[entry + lengthsWord] as number;
    const typeAt = this.#entries[entry + keyAtWord] as number;
    const stateAt = typeAt + (lengths & 0xff);
    return {
      date: dateOf(this.#entries[entry + dateWord] as number),
      type: this.#keys.toString('latin1', typeAt, stateAt),
      state: this.#keys.toString('latin1', stateAt, stateAt + (lengths >>> 8)),
    };
  }

  addIncrements(increments: Increments): void {
    this.#otherSize += mergeIncrements(this.#otherIncrements, increments);
  }

  /** All increments since the last `clear`. */
  increments(): Increments {
    const increments: Increments = new Map();
    for (const row of rowsOfIncrements(this.#otherIncrements))
      addIncrement(increments, row, row.count);
    for (let index = 0; index < this.#touchedCount; index++) {
      const number = this.#touched[index] as number;
      addIncrement(increments, this.counter(number), this.#counts[number]);
    }
    return increments;
  }

  /** Sets all increments to 0. Keeps the counters, unless they fill half of the table. */
  clear(): void {
    for (let index = 0; index < this.#touchedCount; index++) {
      this.#counts[this.#touched[index] as number] = 0;
    }
    this.#touchedCount = 0;
    this.#otherIncrements = new Map();
    this.#otherSize = 0;
    const { countersMax, keyBytesMax } = this.#limits;
    if (this.#known * 2 < countersMax && this.#keyBytes * 2 < keyBytesMax) return;
    this.#slots.fill(0);
    this.#admissions.fill(admission.unknown);
    this.#unadmittedCount = 0;
    this.#known = 0;
    this.#keyBytes = 0;
  }
}

function dateOf(date: number): string {
  const digits = String(date).padStart(8, '0');
  return `${digits.slice(0, 4)}-${digits.slice(4, 6)}-${digits.slice(6)}`;
}
