import { isDay } from '../timestamp.ts';

/** The length of `2023-06-16T13:00:00`. */
const wholeSecondsBytes = 19;

/**
 * The end of a timestamp such as `2023-06-16T13:00:00Z` or `2023-06-16T13:00:00.000+02:00` with a valid
 * time and no leap second; -1 if there is none before `to`. It does not check the date.
 */
export function endOfTimestamp(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  to: number,
  allowsOffset: boolean,
): number {
  if (at + wholeSecondsBytes >= to) return -1;
  // `T13:` and `:00:` as words: the outer bytes are the separators.
  const hour = view.getInt32(at + 10, true);
  const minute = view.getInt32(at + 13, true);
  if ((hour & 0xff0000ff) !== 0x3a000054 || (minute & 0xff0000ff) !== 0x3a00003a) return -1;
  if (middleNumber(hour) > 23 || middleNumber(minute) > 59) return -1;
  if (twoDigits(view.getUint16(at + 17, true)) > 59) return -1;
  let end = at + wholeSecondsBytes;
  if (bytes[end] === 0x2e) {
    end++;
    const fraction = end;
    while (end < to && isDigit(bytes[end] as number)) end++;
    if (end === fraction) return -1;
  }
  if (end + 1 < to && bytes[end] === 0x5a) return end + 1;
  return allowsOffset ? endOfOffset(bytes, view, end, to) : -1;
}

/** The end of an offset such as `-05:00`; -1 if there is none before `to`. */
function endOfOffset(bytes: Uint8Array, view: DataView, at: number, to: number): number {
  if (at + 6 >= to || (bytes[at] !== 0x2b && bytes[at] !== 0x2d) || bytes[at + 3] !== 0x3a)
    return -1;
  const hour = twoDigits(view.getUint16(at + 1, true));
  const minute = twoDigits(view.getUint16(at + 4, true));
  return hour <= 23 && minute <= 59 ? at + 6 : -1;
}

/**
 * The date `YYYY-MM-DD` at `at`, as the number YYYYMMDD; 0 if there is no valid date. At least ten
 * bytes must follow.
 */
export function dateNumberAt(view: DataView, at: number): number {
  const monthAndDashes = view.getInt32(at + 4, true);
  if ((monthAndDashes & 0xff0000ff) !== 0x2d00002d) return 0;
  const century = twoDigits(view.getUint16(at, true));
  const year = century * 100 + twoDigits(view.getUint16(at + 2, true));
  const month = middleNumber(monthAndDashes);
  const day = twoDigits(view.getUint16(at + 8, true));
  return year <= 9999 && isDay(year, month, day) ? year * 10_000 + month * 100 + day : 0;
}

/** The minute of the day of a timestamp that `endOfTimestamp` has checked. */
export function minuteOfDayAt(view: DataView, at: number): number {
  return 60 * twoDigits(view.getUint16(at + 11, true)) + twoDigits(view.getUint16(at + 14, true));
}

/** The number of the two digits in the middle of a word. */
function middleNumber(word: number): number {
  return twoDigits((word >>> 8) & 0xffff);
}

/** The number of two digits; 10,000 for other bytes. */
function twoDigits(pair: number): number {
  const tens = (pair & 0xff) - 0x30;
  const ones = (pair >>> 8) - 0x30;
  return tens >>> 0 <= 9 && ones >>> 0 <= 9 ? tens * 10 + ones : 10_000;
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39;
}
