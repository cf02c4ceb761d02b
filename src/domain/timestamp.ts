/** Year, month and day as digits: `2023-06-16`. */
export type CalendarDate = string;

const rfc3339 =
  /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2}):(\d{2})(?:\.\d+)?(?:[Zz]|([+-])(\d{2}):(\d{2}))$/;

const fullDate = /^(\d{4})-(\d{2})-(\d{2})$/;

/**
 * The date part of an RFC 3339 date-time as written, whatever its offset; undefined if the text is
 * not an RFC 3339 date-time of a valid calendar date. Second 60, a leap second, is valid only at
 * 23:59:60 UTC. The year 0000 is invalid.
 * Source: RFC 3339, sections 5.6 and 5.7.
 */
export function dateOfTimestamp(timestamp: string): CalendarDate | undefined {
  if (isPlainUtc(timestamp)) return timestamp.slice(0, 10);
  const match = rfc3339.exec(timestamp);
  if (match === null) return undefined;
  const field = (group: number) => Number(match[group]);
  const [hour, minute, second] = [field(4), field(5), field(6)];
  const offsetSign = match[7];
  const [offsetHour, offsetMinute] = offsetSign === undefined ? [0, 0] : [field(8), field(9)];
  if (!isDay(field(1), field(2), field(3))) return undefined;
  if (hour > 23 || minute > 59 || second > 60) return undefined;
  if (offsetHour > 23 || offsetMinute > 59) return undefined;
  if (second === 60) {
    const offset = (offsetHour * 60 + offsetMinute) * (offsetSign === '-' ? -1 : 1);
    const minuteOfDayUtc = (hour * 60 + minute - offset + 2 * minutesPerDay) % minutesPerDay;
    if (minuteOfDayUtc !== minutesPerDay - 1) return undefined;
  }
  return timestamp.slice(0, 10);
}

const minutesPerDay = 24 * 60;
export const dayMs = 86_400_000;

/**
 * A fast check for the usual form, `2023-06-16T13:00:00Z` without leap seconds: ten times faster than
 * the regular expression, which took a fifth of the cost of a batch.
 */
function isPlainUtc(timestamp: string): boolean {
  if (timestamp.length !== 20 || timestamp[10] !== 'T' || timestamp[19] !== 'Z') return false;
  if (timestamp[4] !== '-' || timestamp[7] !== '-') return false;
  if (timestamp[13] !== ':' || timestamp[16] !== ':') return false;
  const year = twoDigits(timestamp, 0) * 100 + twoDigits(timestamp, 2);
  return (
    isDay(year, twoDigits(timestamp, 5), twoDigits(timestamp, 8)) &&
    twoDigits(timestamp, 11) <= 23 &&
    twoDigits(timestamp, 14) <= 59 &&
    twoDigits(timestamp, 17) <= 59
  );
}

/** The number of two digits; NaN, for which all comparisons are false, for other characters. */
function twoDigits(text: string, at: number): number {
  const tens = text.charCodeAt(at) - 48;
  const ones = text.charCodeAt(at + 1) - 48;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : NaN;
}

/** Whether the text is `YYYY-MM-DD` and the proleptic Gregorian calendar has that day. */
export function isCalendarDate(text: string): boolean {
  const match = fullDate.exec(text);
  return match !== null && isDay(Number(match[1]), Number(match[2]), Number(match[3]));
}

/** The number of days of the range, inclusive; 0 or less if it ends before it starts. */
export function daysInRange(from: CalendarDate, to: CalendarDate): number {
  return (Date.parse(to) - Date.parse(from)) / dayMs + 1;
}

export function addDays(date: CalendarDate, days: number): CalendarDate {
  return new Date(Date.parse(date) + days * dayMs).toISOString().slice(0, 10);
}

export function isDay(year: number, month: number, day: number): boolean {
  return year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= daysInMonth(year, month);
}

/** @param month 1 to 12 */
export function daysInMonth(year: number, month: number): number {
  if (month === 2) return isLeapYear(year) ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

function isLeapYear(year: number): boolean {
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}

/** The dates of the range, inclusive; empty if it ends before it starts. */
export function datesInRange(from: CalendarDate, to: CalendarDate): CalendarDate[] {
  const days = Math.max(0, daysInRange(from, to));
  return Array.from({ length: days }, (_, day) => addDays(from, day));
}
