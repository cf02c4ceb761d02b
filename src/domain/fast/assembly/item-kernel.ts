/*
 * AssemblyScript, compiled to WebAssembly by `npm run build:kernel`: the inner loop of the scanner. It reads
 * items of known layouts whose counters are in the table, sixteen bytes at a time, and leaves every
 * other item to `BatchScanner`. Addresses and lengths are in bytes. It reads up to 4 KiB beyond a body,
 * but nothing that it finds there counts: an item that does not end within the body is not accepted.
 */

/** Why `scanItems` stopped; below these, a scanned item is not followed by a comma. */
const layoutDiffers: usize = 0;
const valueDiffers: usize = 1;
const afterItem: usize = 2;

const nameBytesMax: u32 = 128;
const probesMax = 32;
const quote: u32 = 0x22;
const comma: u32 = 0x2c;
const backslash: u32 = 0x5c;

/** Kinds of members, as in `ItemLayouts`. */
const type = 1;
const state = 2;
const timestamp = 3;

/** A layout: the index of its last literal, and from 16 on its literals. */
const literalsAt: usize = 16;
/** A literal: kind of the value after it, length, mask of its first 16 bytes, and from 16 on its bytes. */
const literalBytes: u32 = 80;

/** An entry of the table: 16 bytes of the type, 16 of the state, date, lengths, address of the whole names. */
const entryShift: usize = 6;

let control: usize = 0;
let slots: usize = 0;
let slotMask: u32 = 0;
let entries: usize = 0;
let keys: usize = 0;
let layouts: usize = 0;
let layoutBytes: u32 = 0;
let numbers: usize = 0;
let numbersMax: u32 = 0;
/** Sixteen bytes 0xff, sixteen bytes 0. */
let masks: usize = 0;
let multiplierOfType: v128 = i32x4.splat(0);
let multiplierOfState: v128 = i32x4.splat(0);
let multiplierOfDate: u32 = 0;

let layoutCount: u32 = 0;
let layout: usize = 0;
/** The slot at which `find` has not found a counter. */
let freeSlot: u32 = 0;

/** The year and month of the last date as text, `YYYY-MM-`, as the number YYYYMM00, and its days. */
let monthText: u64 = 0;
let month: i32 = 0;
let monthDays: i32 = 0;

/** The date of an item in a time zone, from its date and minute in UTC; 0 if the scanner must find it. */
declare function dayOfUtc(date: i32, minute: i32): i32;

/** `ItemKernel` rejects a build with another version, as a stale build has. */
export function version(): i32 {
  return 1;
}

/** @param addresses the addresses and lengths that `ItemKernel` computes, as words. */
export function configure(addresses: usize): void {
  control = load<u32>(addresses);
  masks = load<u32>(addresses, 4);
  layouts = load<u32>(addresses, 8);
  layoutBytes = load<u32>(addresses, 12);
  slots = load<u32>(addresses, 16);
  slotMask = load<u32>(addresses, 20) - 1;
  entries = load<u32>(addresses, 24);
  keys = load<u32>(addresses, 28);
  numbers = load<u32>(addresses, 32);
  numbersMax = load<u32>(addresses, 36);
  const multipliers: usize = load<u32>(addresses, 40);
  multiplierOfType = v128.load(multipliers);
  multiplierOfState = v128.load(multipliers, 16);
  multiplierOfDate = load<u32>(multipliers, 32);
  v128.store(masks, i8x16.splat(-1));
}

export function setLayout(index: u32, count: u32): void {
  layout = layouts + index * layoutBytes;
  layoutCount = count;
}

/**
 * Scans the items of a list from the beginning of one on, and appends the numbers of their counters.
 * Returns where it stopped. Control words: why it stopped, the number of items, whether to ask `dayOfUtc`.
 */
export function scanItems(from: usize, to: usize): usize {
  let at = from;
  for (;;) {
    let end = scanItem(at, to);
    for (let tries: u32 = 1; end == layoutDiffers && tries < layoutCount; tries++) {
      layout += layoutBytes;
      if (layout == layouts + layoutCount * layoutBytes) layout = layouts;
      end = scanItem(at, to);
    }
    if (end <= valueDiffers) return stop(at, end);
    at = end;
    if (load<u8>(at) != comma) return stop(at, afterItem);
    do at++;
    while (at < to && isSpace(load<u8>(at)));
  }
  return at;
}

function stop(at: usize, why: usize): usize {
  store<u32>(control, <u32>why);
  return at;
}

/** Returns the end of the item, or why it is not scanned. */
function scanItem(from: usize, to: usize): usize {
  if (layoutCount == 0) return layoutDiffers;
  let at = from;
  let literal = layout + literalsAt;
  const lastLiteral = literal + load<u32>(layout) * literalBytes;
  let typeAt: usize = 0;
  let typeBytes: u32 = 0;
  let stateAt: usize = 0;
  let stateBytes: u32 = 0;
  let date = 0;
  for (;;) {
    const mask = load<u32>(literal, 8);
    const isSame = i8x16.bitmask(i8x16.eq(v128.load(at), v128.load(literal, 16)));
    if ((isSame & mask) != mask) return layoutDiffers;
    const length = load<u32>(literal, 4);
    if (length > 16 && !isSameAfter16(literal + 16, at, length)) return layoutDiffers;
    at += length;
    if (literal == lastLiteral) break;
    const kind = load<u32>(literal);
    literal += literalBytes;
    if (kind == type) {
      typeAt = at;
      typeBytes = lengthOfName(at);
      at += typeBytes;
    } else if (kind == state) {
      stateAt = at;
      stateBytes = lengthOfName(at);
      at += stateBytes;
    } else if (kind == timestamp) {
      date = dateAt(at);
      const length = date == 0 ? 0 : lengthOfTimestamp(at);
      if (length == 0) return valueDiffers;
      at += length;
    } else {
      at = endOfOther(at, to);
      if (at == 0) return valueDiffers;
    }
  }
  const count = load<u32>(control, 4);
  if (at >= to || count == numbersMax) return valueDiffers;
  const number = find(date, typeAt, typeBytes, stateAt, stateBytes);
  if (number < 0) return valueDiffers;
  store<i32>(numbers + ((<usize>count) << 2), number);
  store<u32>(control, count + 1, 4);
  return at;
}

/**
 * The number of a counter; -1: not in the table, which has room at `freeSlot`; -2: no room there.
 * A name that equals a name in the table is valid, since `CounterTable` adds only valid ones.
 */
export function find(
  date: i32,
  typeAt: usize,
  typeBytes: u32,
  stateAt: usize,
  stateBytes: u32,
): i32 {
  const type = first16(typeAt, typeBytes);
  const state = first16(stateAt, stateBytes);
  const lengths = typeBytes | (stateBytes << 8);
  const dateAndLengths = (<u64>date) | ((<u64>lengths) << 32);
  const isLong = (typeBytes | stateBytes) > 15;
  let hash = fold(
    i32x4.add(i32x4.mul(type, multiplierOfType), i32x4.mul(state, multiplierOfState)),
  );
  hash ^= <u32>date * multiplierOfDate;
  if (isLong) {
    hash ^= hashAfter16(typeAt, typeBytes, multiplierOfType);
    hash ^= hashAfter16(stateAt, stateBytes, multiplierOfState);
  }
  hash = (hash ^ (hash >>> 16)) * 0x85ebca6b;
  let slot = (hash ^ (hash >>> 15)) & slotMask;
  for (let probes = 0; probes < probesMax; probes++) {
    const number = load<i32>(slots + ((<usize>slot) << 2)) - 1;
    if (number < 0) {
      freeSlot = slot;
      return -1;
    }
    const entry = entries + ((<usize>number) << entryShift);
    if (
      load<u64>(entry, 32) == dateAndLengths &&
      isEqual(v128.load(entry), type) &&
      isEqual(v128.load(entry, 16), state) &&
      (!isLong || hasNames(entry, typeAt, typeBytes, stateAt, stateBytes))
    ) {
      return number;
    }
    slot = (slot + 1) & slotMask;
  }
  return -2;
}

/** Adds the counter that `find` has not found. */
export function add(
  number: i32,
  keyAt: u32,
  date: i32,
  typeAt: usize,
  typeBytes: u32,
  stateAt: usize,
  stateBytes: u32,
): void {
  store<i32>(slots + ((<usize>freeSlot) << 2), number + 1);
  const entry = entries + ((<usize>number) << entryShift);
  v128.store(entry, first16(typeAt, typeBytes));
  v128.store(entry, first16(stateAt, stateBytes), 16);
  store<i32>(entry, date, 32);
  store<u32>(entry, typeBytes | (stateBytes << 8), 36);
  store<u32>(entry, keyAt, 40);
  memory.copy(keys + keyAt, typeAt, typeBytes);
  memory.copy(keys + keyAt + typeBytes, stateAt, stateBytes);
}

function hasNames(
  entry: usize,
  typeAt: usize,
  typeBytes: u32,
  stateAt: usize,
  stateBytes: u32,
): bool {
  const key = keys + load<u32>(entry, 40);
  return (
    isSameAfter16(key, typeAt, typeBytes) && isSameAfter16(key + typeBytes, stateAt, stateBytes)
  );
}

/** The bytes up to the next quote, which may be none; more than any name has if there is no quote. */
function lengthOfName(at: usize): u32 {
  let block: u32 = 0;
  for (; block <= nameBytesMax; block += 16) {
    const quotes = i8x16.bitmask(i8x16.eq(v128.load(at + block), i8x16.splat(<i8>quote)));
    if (quotes != 0) return block + ctz(quotes);
  }
  return block;
}

/**
 * The date on which a timestamp counts, if its date and time are valid and no leap second; otherwise 0.
 * All digits of eight bytes are checked at once: a byte that is too large, once its limit is added,
 * sets its high bit.
 */
function dateAt(at: usize): i32 {
  const text = load<u64>(at);
  if (text != monthText && !setMonth(text)) return 0;
  const day_hour_minute = load<u64>(at, 8) ^ 0x30303a3030543030; // 00T00:00
  if (((day_hour_minute + 0x767a7f767d7f767c) | day_hour_minute) & 0x8080808080808080) return 0;
  const second = (load<u32>(at, 16) & 0xffffff) ^ 0x30303a; // :00
  if (((second + 0x767a7f) | second) & 0x808080) return 0;
  const day = twoDigits(day_hour_minute);
  const hour = twoDigits(day_hour_minute >> 24);
  if (day < 1 || day > monthDays || hour > 23) return 0;
  const date = month + day;
  if (load<u32>(control, 8) == 0) return date;
  return dayOfUtc(date, hour * 60 + twoDigits(day_hour_minute >> 48));
}

function setMonth(text: u64): bool {
  const digits = text ^ 0x2d30302d30303030; // 0000-00-
  if (((digits + 0x7f767e7f76767676) | digits) & 0x8080808080808080) return false;
  const year = 100 * twoDigits(digits) + twoDigits(digits >> 16);
  const ofYear = twoDigits(digits >> 40);
  if (year < 1 || ofYear < 1 || ofYear > 12) return false;
  monthText = text;
  month = (year * 100 + ofYear) * 100;
  monthDays = 30 + ((ofYear + (ofYear >> 3)) & 1);
  if (ofYear == 2) monthDays = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
  return true;
}

function twoDigits(digits: u64): i32 {
  return <i32>(10 * (digits & 0xff) + ((digits >> 8) & 0xff));
}

/** The length of a timestamp whose date and time are valid; 0 if it is not valid as a whole. */
function lengthOfTimestamp(at: usize): u32 {
  let length: u32 = 19;
  if (load<u8>(at, 19) == 0x2e) {
    do length++;
    while (length <= nameBytesMax && isDigit(load<u8>(at + length)));
    if (length == 20) return 0;
  }
  const zone = load<u8>(at + length);
  if (zone == 0x5a) length += 1;
  else if ((zone == 0x2b || zone == 0x2d) && isOffset(load<u64>(at + length))) length += 6;
  else return 0;
  return length <= nameBytesMax ? length : 0;
}

/** Whether the date as written counts, and `+00:00` to `+23:59` follows a sign. */
function isOffset(text: u64): bool {
  const digits = ((text >> 8) & 0xffffffffff) ^ 0x30303a3030;
  const isTime = (((digits + 0x767a7f767d) | digits) & 0x8080808080) == 0;
  return isTime && twoDigits(digits) <= 23 && load<u32>(control, 8) == 0;
}

/** The end of a string without escapes, a number, or a word; 0 for others. */
function endOfOther(from: usize, to: usize): usize {
  const byte = load<u8>(from);
  if (byte == quote) return endOfString(from + 1, to);
  if (byte == 0x74 && load<u32>(from) == 0x65757274) return from + 4; // true
  if (byte == 0x6e && load<u32>(from) == 0x6c6c756e) return from + 4; // null
  if (byte == 0x66 && load<u32>(from, 1) == 0x65736c61) return from + 5; // false
  return endOfNumber(from, to);
}

function endOfString(from: usize, to: usize): usize {
  for (let at = from; at < to; at += 16) {
    const block = v128.load(at);
    // Less than a space as signed bytes: control characters, and all that is not ASCII.
    const ends = v128.or(
      i8x16.lt_s(block, i8x16.splat(0x20)),
      v128.or(i8x16.eq(block, i8x16.splat(<i8>quote)), i8x16.eq(block, i8x16.splat(<i8>backslash))),
    );
    const found = i8x16.bitmask(ends);
    if (found == 0) continue;
    const end = at + ctz(found);
    return load<u8>(end) == quote ? end + 1 : 0;
  }
  return 0;
}

/** By the grammar of RFC 8259. */
function endOfNumber(from: usize, to: usize): usize {
  let at = load<u8>(from) == 0x2d ? from + 1 : from;
  at = load<u8>(at) == 0x30 ? at + 1 : endOfDigits(at, to);
  if (at != 0 && load<u8>(at) == 0x2e) at = endOfDigits(at + 1, to);
  if (at == 0 || (load<u8>(at) | 0x20) != 0x65) return at;
  const sign = load<u8>(at, 1);
  return endOfDigits(sign == 0x2b || sign == 0x2d ? at + 2 : at + 1, to);
}

/** The end of one or more digits; 0 if there are none. */
function endOfDigits(from: usize, to: usize): usize {
  let at = from;
  while (at < to && isDigit(load<u8>(at))) at++;
  return at == from ? 0 : at;
}

function isDigit(byte: u32): bool {
  return byte - 0x30 <= 9;
}

function isSpace(byte: u32): bool {
  return byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09;
}

/** The first 16 bytes of a name, padded with zeros. */
function first16(at: usize, length: u32): v128 {
  return v128.and(v128.load(at), v128.load(masks + 16 - min<u32>(length, 16)));
}

function isEqual(a: v128, b: v128): bool {
  return !v128.any_true(v128.xor(a, b));
}

function isSameAfter16(a: usize, b: usize, length: u32): bool {
  for (let block: u32 = 16; block < length; block += 16) {
    if (!isEqual(first16(a + block, length - block), first16(b + block, length - block))) {
      return false;
    }
  }
  return true;
}

function hashAfter16(at: usize, length: u32, multiplier: v128): u32 {
  let hash: u32 = 0;
  for (let block: u32 = 16; block < length; block += 16) {
    hash ^= fold(i32x4.mul(first16(at + block, length - block), multiplier));
    hash = (hash ^ (hash >>> 15)) * 0x9e3779b1;
  }
  return hash;
}

/** All bits of a vector in 32. */
function fold(vector: v128): u32 {
  const bits = i64x2.extract_lane(vector, 0) ^ i64x2.extract_lane(vector, 1);
  return (<u32>bits) ^ (<u32>(bits >>> 32));
}
