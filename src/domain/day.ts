import { dateOfTimestamp, type CalendarDate } from './timestamp.ts';

/**
 * The day on which an RFC 3339 date-time counts; undefined for other texts, and for days outside the
 * years 0001 to 9999.
 */
export type DayOf = (timestamp: string) => CalendarDate | undefined;

/** The default day rule: the date as written, whatever its offset. */
export const asWritten = 'as-written';

/**
 * The day rule of an installation: the date as written, or the date in UTC or in a zone of the IANA
 * database. A store keeps one rule forever: with another one, a retry could count on another day.
 * @throws {RangeError} for an unknown zone.
 */
export function dayRule(zone: string): DayOf {
  if (zone === asWritten) return dateOfTimestamp;
  const dateAt = zone === 'UTC' ? dateInUtc : datesIn(zone).at;
  return (timestamp) => {
    if (dateOfTimestamp(timestamp) === undefined) return undefined;
    return dateAt(instantOf(timestamp));
  };
}

/** Whether the name is a day rule: `as-written`, `UTC` or a zone of the IANA database. */
export function isDayZone(name: string): boolean {
  return canonicalDayZone(name) !== undefined;
}

/** Whether two names mean the same day rule: zones have several names, in upper or lower case. */
export function isSameDayZone(one: string, other: string): boolean {
  if (one === other) return true;
  const zone = canonicalDayZone(one);
  return zone !== undefined && zone === canonicalDayZone(other);
}

/** The canonical name of a zone, which may be an older one. Undefined for other texts. */
function canonicalDayZone(name: string): string | undefined {
  if (name === asWritten) return name;
  // Intl also accepts offsets such as +01:00, which have no daylight saving time.
  if (!/^[A-Za-z]/.test(name)) return undefined;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/**
 * The day of a time in UTC, which is given as the number YYYYMMDD and the minute of that day. 0: use
 * the general rule.
 */
export type DayOfUtc = (date: number, minute: number) => number;

/** The rule for times in UTC only; undefined if the day of all times is the date as written. */
export function utcDayRule(zone: string): DayOfUtc | undefined {
  if (zone === asWritten) return undefined;
  return zone === 'UTC' ? (date) => date : cachedDaysOfUtc(datesIn(zone));
}

const cachedDaysMax = 4096;
const quartersOfDay = 96;

/** A direct-mapped cache in typed arrays, by quarter of an hour. */
function cachedDaysOfUtc({ ofQuarter }: ZoneDates): DayOfUtc {
  const quarters = new Float64Array(cachedDaysMax);
  const days = new Int32Array(cachedDaysMax);
  return (date, minute) => {
    if (date < evenOffsetsSinceDate) return 0;
    const quarterOfDay = Math.floor(minute / 15);
    const quarter = date * quartersOfDay + quarterOfDay;
    const slot = quarter % cachedDaysMax;
    if (quarters[slot] !== quarter) {
      const [year, month, day] = [
        Math.floor(date / 10_000),
        Math.floor(date / 100) % 100,
        date % 100,
      ];
      const instant = Date.UTC(year, month - 1, day) + quarterOfDay * quarterHourMs;
      quarters[slot] = quarter;
      days[slot] = Number(ofQuarter(instant / quarterHourMs)?.replaceAll('-', '') ?? 0);
    }
    return days[slot] as number;
  };
}

/** Milliseconds since 1970. A leap second counts as the second before it, on the same day. */
function instantOf(timestamp: string): number {
  const date = timestamp.slice(0, 17).toUpperCase();
  const second = timestamp.slice(17, 19) === '60' ? '59' : timestamp.slice(17, 19);
  return Date.parse(date + second + timestamp.slice(19).toUpperCase());
}

function dateInUtc(instant: number): CalendarDate | undefined {
  const text = new Date(instant).toISOString();
  // Years outside 0000 to 9999 are written with a sign and six digits.
  return text[4] === '-' && !text.startsWith('0000') ? text.slice(0, 10) : undefined;
}

const quarterHourMs = 15 * 60_000;
/** Since 1973 nearly all zones have offsets of whole quarters of an hour. */
const evenOffsetsSince = Date.UTC(1973, 0);
const evenOffsetsSinceDate = 1973_01_01;
const cacheSizeMax = 10_000;

interface ZoneDates {
  /** The date at an instant, in milliseconds since 1970. */
  readonly at: (instant: number) => CalendarDate | undefined;
  /**
   * The date of a quarter of an hour, numbered since 1970, from 1973 on. Undefined if it spans two
   * dates: some zones set their clocks back at 00:01, and Kiritimati had -10:40 until 1979.
   */
  readonly ofQuarter: (quarter: number) => CalendarDate | undefined;
}

/** Caches dates, because formatting takes microseconds and most events are of the same hours. */
function datesIn(zone: string): ZoneDates {
  const format = new Intl.DateTimeFormat('en-u-ca-gregory-nu-latn', {
    timeZone: zone,
    era: 'short',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
  });
  const cache = new Map<number, CalendarDate | undefined>();
  const ofQuarter = (quarter: number) => {
    if (!cache.has(quarter)) {
      if (cache.size >= cacheSizeMax) cache.clear();
      const begin = quarter * quarterHourMs;
      const first = formatDate(format, begin);
      const last = formatDate(format, begin + quarterHourMs - 1);
      cache.set(quarter, first === last ? first : undefined);
    }
    return cache.get(quarter);
  };
  const at = (instant: number) => {
    const date =
      instant < evenOffsetsSince ? undefined : ofQuarter(Math.floor(instant / quarterHourMs));
    return date ?? formatDate(format, instant);
  };
  return { at, ofQuarter };
}

function formatDate(format: Intl.DateTimeFormat, instant: number): CalendarDate | undefined {
  const parts = format.formatToParts(instant);
  const part = (type: string) => parts.find((each) => each.type === type)?.value ?? '';
  const year = part('year').padStart(4, '0');
  const isInRange = year.length === 4 && !part('era').startsWith('B');
  return isInRange ? `${year}-${part('month')}-${part('day')}` : undefined;
}
