/*
 * Finds the ends of JSON values in ASCII, by the grammar of RFC 8259. Each function takes the index
 * where a value begins and returns the index after it, or -1 if it is invalid, incomplete before
 * `to`, or has a byte above 127 (the slow path checks UTF-8).
 */

const quote = 0x22;
const comma = 0x2c;
const minus = 0x2d;
const point = 0x2e;
const colon = 0x3a;
const openBracket = 0x5b;
const backslash = 0x5c;
const closeBracket = 0x5d;
const openBrace = 0x7b;
const closeBrace = 0x7d;

/** Skips optional white space; never -1. */
export function skipSpace(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to) {
    const byte = bytes[at];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
    at++;
  }
  return at;
}

/** @param depthMax how deep the value may be nested. */
export function skipJsonValue(
  bytes: Uint8Array,
  from: number,
  to: number,
  depthMax: number,
): number {
  if (from >= to) return -1;
  switch (bytes[from]) {
    case quote:
      return skipJsonString(bytes, from, to, true);
    case openBrace:
      return skipObject(bytes, from, to, depthMax);
    case openBracket:
      return skipArray(bytes, from, to, depthMax);
    case 0x74:
      return skipWord(bytes, from, to, 'true');
    case 0x66:
      return skipWord(bytes, from, to, 'false');
    case 0x6e:
      return skipWord(bytes, from, to, 'null');
    case undefined:
    default:
      return skipNumber(bytes, from, to);
  }
}

/** @param allowsEscapes whether the string may have escapes. */
export function skipJsonString(
  bytes: Uint8Array,
  from: number,
  to: number,
  allowsEscapes: boolean,
): number {
  if (from >= to || bytes[from] !== quote) return -1;
  for (let at = from + 1; at < to; at++) {
    const byte = bytes[at] as number;
    if (byte === quote) return at + 1;
    if (byte < 0x20 || byte > 0x7f) return -1;
    if (byte !== backslash) continue;
    const length = allowsEscapes && at + 1 < to ? escapeLength(bytes, at + 1, to) : 0;
    if (length === 0) return -1;
    at += length;
  }
  return -1;
}

/** The length of an escape after its backslash; 0 if it is invalid. */
function escapeLength(bytes: Uint8Array, at: number, to: number): number {
  const letter = bytes[at] as number;
  if (letter !== 0x75) return '"\\/bfnrt'.includes(String.fromCharCode(letter)) ? 1 : 0;
  if (at + 5 > to) return 0;
  for (let digit = at + 1; digit < at + 5; digit++) {
    const byte = bytes[digit] as number;
    const letterDigit = byte | 0x20;
    if (!isDigit(byte) && !(letterDigit >= 0x61 && letterDigit <= 0x66)) return 0;
  }
  return 5;
}

function skipObject(bytes: Uint8Array, from: number, to: number, depthMax: number): number {
  if (depthMax === 0) return -1;
  let at = skipSpace(bytes, from + 1, to);
  if (at < to && bytes[at] === closeBrace) return at + 1;
  for (;;) {
    at = skipJsonString(bytes, at, to, true);
    if (at < 0) return -1;
    at = skipSpace(bytes, at, to);
    if (at >= to || bytes[at] !== colon) return -1;
    at = skipJsonValue(bytes, skipSpace(bytes, at + 1, to), to, depthMax - 1);
    if (at < 0) return -1;
    at = skipSpace(bytes, at, to);
    if (at >= to) return -1;
    if (bytes[at] === closeBrace) return at + 1;
    if (bytes[at] !== comma) return -1;
    at = skipSpace(bytes, at + 1, to);
  }
}

function skipArray(bytes: Uint8Array, from: number, to: number, depthMax: number): number {
  if (depthMax === 0) return -1;
  let at = skipSpace(bytes, from + 1, to);
  if (at < to && bytes[at] === closeBracket) return at + 1;
  for (;;) {
    at = skipJsonValue(bytes, at, to, depthMax - 1);
    if (at < 0) return -1;
    at = skipSpace(bytes, at, to);
    if (at >= to) return -1;
    if (bytes[at] === closeBracket) return at + 1;
    if (bytes[at] !== comma) return -1;
    at = skipSpace(bytes, at + 1, to);
  }
}

function skipWord(bytes: Uint8Array, from: number, to: number, word: string): number {
  if (from + word.length > to) return -1;
  for (let index = 0; index < word.length; index++) {
    if (bytes[from + index] !== word.charCodeAt(index)) return -1;
  }
  return from + word.length;
}

function skipNumber(bytes: Uint8Array, from: number, to: number): number {
  let at = bytes[from] === minus ? from + 1 : from;
  // No digit may follow a leading zero; the caller checks what follows the number.
  at = at < to && bytes[at] === 0x30 ? at + 1 : skipDigits(bytes, at, to);
  if (at < 0) return -1;
  if (at < to && bytes[at] === point) at = skipDigits(bytes, at + 1, to);
  if (at < 0) return -1;
  if (at < to && ((bytes[at] as number) | 0x20) === 0x65) {
    at++;
    if (at < to && (bytes[at] === minus || bytes[at] === 0x2b)) at++;
    at = skipDigits(bytes, at, to);
  }
  return at;
}

/** Skips one or more digits. */
function skipDigits(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && isDigit(bytes[at] as number)) at++;
  return at > from ? at : -1;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
