import { addIncrement, mergeIncrements, rowsOfIncrements, type Increments } from '../counter.ts';
import type { Counter } from '../day-bound.ts';

export interface CounterTableLimits {
  /** The most counters in the table. */
  readonly countersMax: number;
  /** The most bytes of their names. */
  readonly keyBytesMax: number;
}

/** Returned instead of a counter's number when the table cannot hold a new counter. */
export const tableFull = -1;

const none: readonly number[] = [];
/** Whether the limit of its day admits a counter; `asked`: temporarily, to list it once. */
const admission = { unknown: 0, admitted: 1, asked: 2 } as const;

/** A lookup gives up after this many probes, so that adversarial names cannot make it slow. */
const probesMax = 32;

/**
 * Increments by counter, for the names that `BatchScanner` reads: a lookup by bytes that creates no
 * strings. An open-addressing hash table in typed arrays, with a random seed against chosen
 * collisions. `addIncrements` adds counters with any names. Each counter in the table has a number
 * until `clear`, and a flag whether the limit of its day admits it.
 */
export class CounterTable {
  readonly #limits: CounterTableLimits;
  readonly #seed: number;
  /** Counter numbers plus 1, by hash; 0: empty. At least twice as many slots as counters. */
  readonly #slots: Int32Array;
  readonly #hashes: Int32Array;
  readonly #dates: Int32Array;
  readonly #typeBytes: Uint8Array;
  readonly #stateBytes: Uint8Array;
  readonly #keyAt: Int32Array;
  /** The bytes of all types and states. */
  readonly #keys: Buffer;
  readonly #keyView: DataView;
  readonly #counts: Float64Array;
  /** The numbers of the counters with increments. */
  readonly #touched: Int32Array;
  #touchedCount = 0;
  readonly #admissions: Uint8Array;
  /** The number of counters in the table that are not admitted. */
  #unadmittedCount = 0;
  #known = 0;
  #keyBytes = 0;
  /** From `addIncrements`. */
  #otherIncrements: Increments = new Map();
  #otherSize = 0;

  /** @param random a secret whole number below 2^32. */
  constructor(limits: CounterTableLimits, random: number) {
    const { countersMax, keyBytesMax } = limits;
    this.#limits = limits;
    this.#seed = random | 0;
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(2 * countersMax)));
    this.#hashes = new Int32Array(countersMax);
    this.#dates = new Int32Array(countersMax);
    this.#typeBytes = new Uint8Array(countersMax);
    this.#stateBytes = new Uint8Array(countersMax);
    this.#keyAt = new Int32Array(countersMax);
    this.#keys = Buffer.from(new ArrayBuffer(keyBytesMax));
    this.#keyView = new DataView(this.#keys.buffer);
    this.#counts = new Float64Array(countersMax);
    this.#touched = new Int32Array(countersMax);
    this.#admissions = new Uint8Array(countersMax);
  }

  /** The number of counters with increments since the last `clear`; some may be counted twice. */
  get size(): number {
    return this.#touchedCount + this.#otherSize;
  }

  /**
   * Finds or adds the counter with a date (as the number YYYYMMDD) and two names in `bytes`, 1 to
   * 128 bytes of ASCII each. Returns its number, or `tableFull`.
   */
  find(
    bytes: Uint8Array,
    view: DataView,
    date: number,
    typeAt: number,
    typeBytes: number,
    stateAt: number,
    stateBytes: number,
  ): number {
    const hash = this.#hash(bytes, date, typeAt, typeBytes, stateAt, stateBytes);
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    for (let probes = 0; probes < probesMax; probes++) {
      const number = (this.#slots[slot] as number) - 1;
      if (number < 0) {
        return this.#add(slot, hash, bytes, date, typeAt, typeBytes, stateAt, stateBytes);
      }
      if (
        this.#hashes[number] === hash &&
        this.#dates[number] === date &&
        this.#typeBytes[number] === typeBytes &&
        this.#stateBytes[number] === stateBytes &&
        this.#isKey(number, view, typeAt, typeBytes, stateAt, stateBytes)
      ) {
        return number;
      }
      slot = (slot + 1) & mask;
    }
    return tableFull;
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
    const text = this.#keys;
    const typeAt = this.#keyAt[number] as number;
    const stateAt = typeAt + (this.#typeBytes[number] as number);
    return {
      date: dateOf(this.#dates[number] as number),
      type: text.toString('latin1', typeAt, stateAt),
      state: text.toString('latin1', stateAt, stateAt + (this.#stateBytes[number] as number)),
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

  #hash(
    bytes: Uint8Array,
    date: number,
    typeAt: number,
    typeBytes: number,
    stateAt: number,
    stateBytes: number,
  ): number {
    let hash = Math.imul(this.#seed ^ date ^ (typeBytes << 24), 0x9e3779b1);
    for (let at = typeAt; at < typeAt + typeBytes; at++) {
      hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
    }
    for (let at = stateAt; at < stateAt + stateBytes; at++) {
      hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
    }
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
    return hash ^ (hash >>> 13);
  }

  #isKey(
    number: number,
    view: DataView,
    typeAt: number,
    typeBytes: number,
    stateAt: number,
    stateBytes: number,
  ): boolean {
    const keyAt = this.#keyAt[number] as number;
    const keys = this.#keyView;
    return (
      isSame(keys, keyAt, view, typeAt, typeBytes) &&
      isSame(keys, keyAt + typeBytes, view, stateAt, stateBytes)
    );
  }

  #add(
    slot: number,
    hash: number,
    bytes: Uint8Array,
    date: number,
    typeAt: number,
    typeBytes: number,
    stateAt: number,
    stateBytes: number,
  ): number {
    const { countersMax, keyBytesMax } = this.#limits;
    const keyAt = this.#keyBytes;
    if (this.#known >= countersMax || keyAt + typeBytes + stateBytes > keyBytesMax)
      return tableFull;
    const number = this.#known++;
    this.#slots[slot] = number + 1;
    this.#unadmittedCount++;
    this.#hashes[number] = hash;
    this.#dates[number] = date;
    this.#typeBytes[number] = typeBytes;
    this.#stateBytes[number] = stateBytes;
    this.#keyAt[number] = keyAt;
    for (let at = 0; at < typeBytes; at++) this.#keys[keyAt + at] = bytes[typeAt + at] as number;
    const stateKeyAt = keyAt + typeBytes;
    for (let at = 0; at < stateBytes; at++) {
      this.#keys[stateKeyAt + at] = bytes[stateAt + at] as number;
    }
    this.#keyBytes = stateKeyAt + stateBytes;
    return number;
  }
}

/** Compares four bytes at a time; the last four may overlap. */
function isSame(a: DataView, aAt: number, b: DataView, bAt: number, bytes: number): boolean {
  if (bytes < 4) {
    for (let at = 0; at < bytes; at++)
      if (a.getUint8(aAt + at) !== b.getUint8(bAt + at)) return false;
    return true;
  }
  const last = bytes - 4;
  for (let at = 0; at < last; at += 4) {
    if (a.getInt32(aAt + at) !== b.getInt32(bAt + at)) return false;
  }
  return a.getInt32(aAt + last) === b.getInt32(bAt + last);
}

function dateOf(date: number): string {
  const digits = String(date).padStart(8, '0');
  return `${digits.slice(0, 4)}-${digits.slice(4, 6)}-${digits.slice(6)}`;
}
