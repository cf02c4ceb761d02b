import { isDay } from './timestamp.ts';

/** The length of `2023-06-16T13:00:00Z`. */
export const plainTimestampBytes = 20;

/**
 * Whether the bytes from the eleventh on are `Thh:mm:ssZ` of a time that the clock has, but for
 * leap seconds. There must be `plainTimestampBytes` bytes at `at`.
 */
export function isTimeAt(bytes: Uint8Array, at: number): boolean {
  return (
    bytes[at + 10] === 0x54 &&
    bytes[at + 13] === 0x3a &&
    bytes[at + 16] === 0x3a &&
    bytes[at + 19] === 0x5a &&
    twoDigitsAt(bytes, at + 11) <= 23 &&
    twoDigitsAt(bytes, at + 14) <= 59 &&
    twoDigitsAt(bytes, at + 17) <= 59
  );
}

/** The date that is written as `YYYY-MM-DD` at a place, as the number YYYYMMDD; 0 where none is. */
export function dateNumberAt(bytes: Uint8Array, at: number): number {
  if (bytes[at + 4] !== 0x2d || bytes[at + 7] !== 0x2d) return 0;
  const year = twoDigitsAt(bytes, at) * 100 + twoDigitsAt(bytes, at + 2);
  const month = twoDigitsAt(bytes, at + 5);
  const day = twoDigitsAt(bytes, at + 8);
  return year <= 9999 && isDay(year, month, day) ? year * 10_000 + month * 100 + day : 0;
}

/** The number that two digits make; 10,000 and more where one is none. */
function twoDigitsAt(bytes: Uint8Array, at: number): number {
  const tens = (bytes[at] as number) - 0x30;
  const ones = (bytes[at + 1] as number) - 0x30;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : 10_000;
}
