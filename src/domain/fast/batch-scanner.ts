import { jsonDepthMax } from '../batch.ts';
import { tableFull, type CounterTable } from './counter-table.ts';
import type { DayOfUtc } from '../day.ts';
import { fieldBytesMax } from '../device-event.ts';
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

const member = { other: 0, type: 1, state: 2, timestamp: 3 } as const;
type Member = (typeof member)[keyof typeof member];

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

/**
 * The fast path for reading a batch: scans the bytes and builds no objects. It handles bodies whose
 * items are all valid, with names in ASCII without escapes and timestamps such as
 * `2023-06-16T13:00:00Z`; the members may have any order, white space and other members between
 * them, but no duplicates. It declines every other body, which may still be valid. What it accepts,
 * `readBatch` accepts with the same events (a differential fuzz test checks this).
 */
export class BatchScanner {
  readonly #counters: CounterTable;
  readonly #dayOfUtc: DayOfUtc | undefined;
  /** The counter numbers of the items of the last scan. */
  #numbers = new Int32Array(1024);
  #items = 0;
  /** What every scan returns, to avoid garbage per batch. */
  readonly #scanned: ScannedBatch & { items: number };
  /** A view of the scanned bytes. */
  #view: DataView = new DataView(new ArrayBuffer(0));
  #viewed: Uint8Array | undefined;
  #member: Member = member.other;

  /** @param dayOfUtc the day rule; undefined: the date as written. */
  constructor(counters: CounterTable, dayOfUtc?: DayOfUtc) {
    this.#counters = counters;
    this.#dayOfUtc = dayOfUtc;
    this.#scanned = {
      items: 0,
      newCounters: () => counters.newCounters(this.#numbers, this.#items),
      count: () => counters.addEach(this.#numbers, this.#items),
    };
  }

  /**
   * Scans the body `bytes[from, to)`. Undefined if the slow path, `readBatch`, must read it, also if the
   * counter table is full.
   */
  scan(bytes: Uint8Array, from: number, to: number): ScannedBatch | undefined {
    if (!this.#isScannable(bytes, from, to)) return undefined;
    this.#scanned.items = this.#items;
    return this.#scanned;
  }

  #isScannable(bytes: Uint8Array, from: number, to: number): boolean {
    if (this.#viewed !== bytes) {
      this.#viewed = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    this.#items = 0;
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
      at = this.#scanItem(bytes, at, to);
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
    const view = this.#view;
    for (;;) {
      let found: Member;
      // Without white space, the usual form, comparing words identifies the member.
      const word = at + longestHeadBytes < to ? view.getInt32(at, true) : 0;
      if (word === typeHead && view.getInt32(at + 4, true) === typeHead2) {
        found = member.type;
        at += 8;
      } else if (
        word === stateHead &&
        view.getInt32(at + 4, true) === stateHead2 &&
        bytes[at + 8] === quote
      ) {
        found = member.state;
        at += 9;
      } else if (
        word === timestampHead &&
        view.getInt32(at + 4, true) === timestampHead2 &&
        view.getInt32(at + 8, true) === timestampHead3 &&
        bytes[at + 12] === quote
      ) {
        found = member.timestamp;
        at += 13;
      } else {
        at = this.#readKey(bytes, at, to);
        if (at < 0) return -1;
        found = this.#member;
      }
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
        const end = endOfTimestamp(bytes, view, at, to);
        if (end < 0 || end - at > fieldBytesMax || bytes[end] !== quote) return -1;
        date = dateNumberAt(view, at);
        if (date === 0) return -1;
        if (this.#dayOfUtc !== undefined) {
          date = this.#dayOfUtc(date, minuteOfDayAt(view, at));
          if (date === 0) return -1;
        }
        at = end;
      } else {
        at = skipJsonValue(bytes, at, to, jsonDepthMax - itemDepth) - 1;
      }
      if (at < 0) return -1;
      at++;
      if (at < to && (bytes[at] as number) <= space) at = skipSpace(bytes, at, to);
      if (at >= to) return -1;
      const byte = bytes[at++];
      if (byte === closeBrace) break;
      if (byte !== comma) return -1;
    }
    if (typeBytes === 0 || stateBytes === 0 || date === 0) return -1;
    const number = this.#counters.find(
      bytes,
      this.#view,
      date,
      typeAt,
      typeBytes,
      stateAt,
      stateBytes,
    );
    if (number === tableFull) return -1;
    if (this.#items === this.#numbers.length) this.#grow();
    this.#numbers[this.#items++] = number;
    return at;
  }

  /**
   * Reads a key in any form and sets `#member`. Returns the index after the opening quote of the
   * value of one of our members, or the index of another member's value; or -1.
   */
  #readKey(bytes: Uint8Array, from: number, to: number): number {
    const at = skipSpace(bytes, from, to);
    const found = memberAt(bytes, at, to);
    this.#member = found;
    if (found === member.other) return skipColon(bytes, skipOtherKey(bytes, at, to), to);
    const value = skipColon(bytes, at + keyOf(found).length, to);
    return value >= 0 && bytes[value] === quote ? value + 1 : -1;
  }

  #grow(): void {
    const numbers = new Int32Array(2 * this.#numbers.length);
    numbers.set(this.#numbers);
    this.#numbers = numbers;
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
