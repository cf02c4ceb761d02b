import { jsonDepthMax } from '../batch.ts';
import { tableFull, type CounterTable } from './counter-table.ts';
import type { DayOfUtc } from '../day.ts';
import { fieldBytesMax } from '../device-event.ts';
import { stopped, type ItemKernel } from './item-kernel.ts';
import { ItemLayouts, member, type Member } from './item-layouts.ts';
import { copiedBytesMax } from './scan-memory.ts';
import { skipJsonString, skipJsonValue, skipSpace } from './json-skipper.ts';
import { dateNumberAt, endOfTimestamp, minuteOfDayAt } from './timestamp-bytes.ts';

const quote = 0x22;
const comma = 0x2c;
const colon = 0x3a;
const openBracket = 0x5b;
const backslash = 0x5c;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const space = 0x20;

const keys = {
  type: Buffer.from('"type"'),
  state: Buffer.from('"state"'),
  timestamp: Buffer.from('"timestamp"'),
  processedDevices: Buffer.from('"processed_devices"'),
};

/** The beginnings of our members without white space, as words of four bytes. */
const [typeHead, typeHead2] = words('"type":"') as [number, number];
const [stateHead, stateHead2] = words('"state":') as [number, number];
const [timestampHead, timestampHead2, timestampHead3] = words('"timestamp":') as [
  number,
  number,
  number,
];
const longestHeadBytes = '"timestamp":"'.length;

function words(text: string): readonly number[] {
  const bytes = Buffer.from(text);
  return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readInt32LE(4 * index));
}

/** The depth of an item's members: document, list, item. */
const itemDepth = 3;

/** A body that was scanned: the only way to its counters. Take what you need before the next scan. */
export interface ScannedBatch {
  readonly items: number;
  /** The distinct counters of the items that are not admitted yet. */
  newCounters(): readonly number[];
  /** Adds the items to their counters. */
  count(): void;
}

/** Whether to learn the layout of an item: of the first 8 that miss, then at every power of two. */
const isLearnedAfter = (misses: number) => misses <= 8 || (misses & (misses - 1)) === 0;

/**
 * The fast path for reading a batch: scans the bytes and builds no objects. It handles bodies whose items
 * are all valid, with names in ASCII without escapes and timestamps such as `2023-06-16T13:00:00Z` (under
 * the rule as-written, also with an offset); the members may have any order, white space and other
 * members between them, but no duplicates. It declines every other body, which may still be valid. What
 * it accepts, `readBatch` accepts with the same events (a differential fuzz test checks this).
 * `ItemKernel` scans items of layouts that this class has read before; this class scans all others.
 */
export class BatchScanner {
  readonly #counters: CounterTable;
  readonly #dayOfUtc: DayOfUtc | undefined;
  readonly #kernel: ItemKernel;
  readonly #layouts: ItemLayouts;
  /** Every scan returns this same object, to avoid garbage per batch. */
  readonly #scanned: ScannedBatch & { items: number };
  /** The number of items of the batch that the kernel left to this class. */
  #misses = 0;
  #member: Member = member.other;

  /** @param dayOfUtc the day rule; undefined: the date as written. */
  constructor(counters: CounterTable, dayOfUtc?: DayOfUtc) {
    const { kernel } = counters;
    this.#counters = counters;
    this.#dayOfUtc = dayOfUtc;
    this.#kernel = kernel;
    kernel.dayOfUtc = dayOfUtc;
    this.#layouts = new ItemLayouts(kernel);
    this.#scanned = {
      items: 0,
      newCounters: () => counters.newCounters(kernel.numbers, kernel.items),
      count: () => counters.addEach(kernel.numbers, kernel.items),
    };
  }

  /**
   * Scans the body `bytes[from, to)`: in place if `bytes` begins where the memory of the scanner does,
   * otherwise a copy. Undefined if the slow path, `readBatch`, must read it, also if the counter table
   * is full.
   */
  scan(bytes: Uint8Array, from: number, to: number): ScannedBatch | undefined {
    if (to - from > copiedBytesMax) return undefined;
    const kernel = this.#kernel;
    const at = kernel.isMemory(bytes) ? from : kernel.copy(bytes.subarray(from, to));
    if (!this.#isScannable(kernel.bytes, at, at + to - from)) return undefined;
    this.#scanned.items = kernel.items;
    return this.#scanned;
  }

  #isScannable(bytes: Uint8Array, from: number, to: number): boolean {
    this.#kernel.items = 0;
    this.#misses = 0;
    let hasList = false;
    let at = skipSpace(bytes, from, to);
    if (at >= to || bytes[at] !== openBrace) return false;
    at = skipSpace(bytes, at + 1, to);
    for (;;) {
      const isOurs = isKey(bytes, at, to, keys.processedDevices);
      const keyEnd = isOurs ? at + keys.processedDevices.length : skipOtherKey(bytes, at, to);
      at = skipColon(bytes, keyEnd, to);
      if (at < 0 || (isOurs && hasList)) return false;
      at = isOurs ? this.#scanList(bytes, at, to) : skipJsonValue(bytes, at, to, jsonDepthMax - 1);
      if (at < 0) return false;
      hasList ||= isOurs;
      at = skipSpace(bytes, at, to);
      if (at >= to) return false;
      if (bytes[at] === closeBrace) break;
      if (bytes[at] !== comma) return false;
      at = skipSpace(bytes, at + 1, to);
    }
    return hasList && skipSpace(bytes, at + 1, to) === to;
  }

  /** Scans the list; returns the index after it, or -1. */
  #scanList(bytes: Uint8Array, from: number, to: number): number {
    if (bytes[from] !== openBracket) return -1;
    let at = skipSpace(bytes, from + 1, to);
    if (at < to && bytes[at] === closeBracket) return at + 1;
    for (;;) {
      at = this.#kernel.exports.scanItems(at, to);
      if (this.#kernel.stopped !== stopped.afterItem) at = this.#scanItem(bytes, at, to);
      if (at < 0) return -1;
      if (at < to && (bytes[at] as number) <= space) at = skipSpace(bytes, at, to);
      if (at >= to) return -1;
      const byte = bytes[at++];
      if (byte === closeBracket) return at;
      if (byte !== comma) return -1;
      if (at < to && (bytes[at] as number) <= space) at = skipSpace(bytes, at, to);
    }
  }

  /** Scans an item and records its counter; returns the index after it, or -1. */
  #scanItem(bytes: Uint8Array, from: number, to: number): number {
    let typeAt = 0;
    let typeBytes = 0;
    let stateAt = 0;
    let stateBytes = 0;
    let date = 0;
    if (from >= to || bytes[from] !== openBrace) return -1;
    let at = from + 1;
    this.#layouts.beginItem(from);
    for (;;) {
      at = this.#readKey(bytes, at, to);
      if (at < 0) return -1;
      const valueAt = at;
      const found = this.#member;
      if (found === member.type) {
        if (typeBytes > 0) return -1;
        typeAt = at;
        at = endOfName(bytes, at, to);
        typeBytes = at - typeAt;
      } else if (found === member.state) {
        if (stateBytes > 0) return -1;
        stateAt = at;
        at = endOfName(bytes, at, to);
        stateBytes = at - stateAt;
      } else if (found === member.timestamp) {
        if (date > 0) return -1;
        at = this.#endOfTimestamp(bytes, at, to);
        date = at < 0 ? 0 : this.#dateAt(valueAt);
        if (date === 0) return -1;
      } else {
        at = skipJsonValue(bytes, at, to, jsonDepthMax - itemDepth);
      }
      if (at < 0) return -1;
      this.#layouts.noteMember(found, valueAt, at);
      if (found !== member.other) at++;
      at = skipSpace(bytes, at, to);
      if (at >= to) return -1;
      const byte = bytes[at++];
      if (byte === closeBrace) break;
      if (byte !== comma) return -1;
    }
    if (typeBytes === 0 || stateBytes === 0 || date === 0) return -1;
    const number = this.#counters.find(date, typeAt, typeBytes, stateAt, stateBytes);
    if (number === tableFull || !this.#kernel.addItem(number)) return -1;
    if (this.#kernel.stopped === stopped.layoutDiffers && isLearnedAfter(++this.#misses)) {
      this.#layouts.learn(at);
    }
    return at;
  }

  /** The index of the closing quote of a timestamp with a valid time; -1 if there is none. */
  #endOfTimestamp(bytes: Uint8Array, from: number, to: number): number {
    const allowsOffset = this.#dayOfUtc === undefined;
    const end = endOfTimestamp(bytes, this.#kernel.view, from, to, allowsOffset);
    return end - from <= fieldBytesMax && bytes[end] === quote ? end : -1;
  }

  /** The date on which a timestamp with a valid time counts; 0 if it is not valid or not known. */
  #dateAt(at: number): number {
    const { view } = this.#kernel;
    const date = dateNumberAt(view, at);
    return date === 0 || this.#dayOfUtc === undefined
      ? date
      : this.#dayOfUtc(date, minuteOfDayAt(view, at));
  }

  /**
   * Reads a key in any form and sets `#member`. Returns the index after the opening quote of the
   * value of one of our members, or the index of another member's value; or -1.
   */
  #readKey(bytes: Uint8Array, from: number, to: number): number {
    const { view } = this.#kernel;
    // Without white space, the usual form, comparing words identifies the member.
    const word = from + longestHeadBytes < to ? view.getInt32(from, true) : 0;
    if (word === typeHead && view.getInt32(from + 4, true) === typeHead2) {
      this.#member = member.type;
      return from + 8;
    }
    if (
      word === stateHead &&
      view.getInt32(from + 4, true) === stateHead2 &&
      bytes[from + 8] === quote
    ) {
      this.#member = member.state;
      return from + 9;
    }
    if (
      word === timestampHead &&
      view.getInt32(from + 4, true) === timestampHead2 &&
      view.getInt32(from + 8, true) === timestampHead3 &&
      bytes[from + 12] === quote
    ) {
      this.#member = member.timestamp;
      return from + 13;
    }
    return this.#readAnyKey(bytes, from, to);
  }

  /** The same, whatever the white space and the member. */
  #readAnyKey(bytes: Uint8Array, from: number, to: number): number {
    const at = skipSpace(bytes, from, to);
    const found = memberAt(bytes, at, to);
    this.#member = found;
    if (found === member.other) return skipColon(bytes, skipOtherKey(bytes, at, to), to);
    const value = skipColon(bytes, at + keyOf(found).length, to);
    return value >= 0 && bytes[value] === quote ? value + 1 : -1;
  }
}

/** Whether the key, with its quotes, is at `at`. */
function isKey(bytes: Uint8Array, at: number, to: number, key: Uint8Array): boolean {
  const { length } = key;
  if (at + length > to) return false;
  for (let index = 0; index < length; index++) if (bytes[at + index] !== key[index]) return false;
  return true;
}

function memberAt(bytes: Uint8Array, at: number, to: number): Member {
  if (isKey(bytes, at, to, keys.type)) return member.type;
  if (isKey(bytes, at, to, keys.state)) return member.state;
  return isKey(bytes, at, to, keys.timestamp) ? member.timestamp : member.other;
}

function keyOf(found: Exclude<Member, 0>): Uint8Array {
  if (found === member.type) return keys.type;
  return found === member.state ? keys.state : keys.timestamp;
}

const isWithinName = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte >= space && byte <= 0x7e && byte !== quote && byte !== backslash ? 1 : 0,
);

/** The index of a name's closing quote; -1 unless it is 1 to 128 bytes of unescaped ASCII. */
function endOfName(bytes: Uint8Array, from: number, to: number): number {
  const end = Math.min(to, from + fieldBytesMax + 1);
  let at = from;
  for (; at < end; at++) {
    if (isWithinName[bytes[at] as number] === 0) break;
  }
  if (at === end || at === from || bytes[at] !== quote) return -1;
  return bytes[from] === space || bytes[at - 1] === space ? -1 : at;
}

/** Skips a key without escapes: an escaped key could be one of ours. */
function skipOtherKey(bytes: Uint8Array, at: number, to: number): number {
  return skipJsonString(bytes, at, to, false);
}

/** Skips a colon with white space around it; -1 if there is no colon or nothing follows. */
function skipColon(bytes: Uint8Array, from: number, to: number): number {
  if (from < 0) return -1;
  let at = skipSpace(bytes, from, to);
  if (at >= to || bytes[at] !== colon) return -1;
  at = skipSpace(bytes, at + 1, to);
  return at < to ? at : -1;
}
