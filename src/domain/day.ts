import { dateOfTimestamp, type CalendarDate } from './timestamp.ts';

/**
 * The day on which an RFC 3339 date-time counts; undefined where it is none, or where the day lies
 * outside the years 0001 to 9999.
 */
export type DayOf = (timestamp: string) => CalendarDate | undefined;

/** The day that is written, whatever its offset: the rule where nothing else is set. */
export const asWritten = 'as-written';

/**
 * The rule by which an installation takes the day: `as-written`, or the day in UTC or in a zone of
 * the IANA database. One store has one rule: with two, a retry could count on another day.
 * @throws {RangeError} for a zone that is not known here.
 */
export function dayRule(zone: string): DayOf {
  if (zone === asWritten) return dateOfTimestamp;
  const dateAt = zone === 'UTC' ? dateInUtc : dateIn(zone);
  return (timestamp) => {
    if (dateOfTimestamp(timestamp) === undefined) return undefined;
    return dateAt(instantOf(timestamp));
  };
}

/** Whether there is a rule of this name: `as-written`, `UTC` or a zone of the IANA database. */
export function isDayZone(name: string): boolean {
  if (name === asWritten) return true;
  // Intl also takes offsets such as +01:00, which are no zones: they have no summer time.
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/**
 * The day of a time in UTC, given as the whole number YYYYMMDD and the minute of that day; 0 where
 * only the general rule can tell.
 */
export type DayOfUtc = (date: number, minute: number) => number;

/** The rule for times in UTC alone; undefined where their day is the one that is written. */
export function utcDayRule(zone: string): DayOfUtc | undefined {
  return zone === asWritten || zone === 'UTC' ? undefined : cachedDays(dateIn(zone));
}

const cachedDaysMax = 4096;
const quartersOfDay = 96;

/** A cache without objects, in which a quarter of an hour has one place that others may take. */
function cachedDays(dateAt: (instant: number) => CalendarDate | undefined): DayOfUtc {
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
      days[slot] = Number(dateAt(instant)?.replaceAll('-', '') ?? 0);
    }
    return days[slot] as number;
  };
}

/** Milliseconds since 1970. A leap second is taken for the second before, on the same day. */
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
/** Since then every zone has differed from UTC by whole quarters of an hour. */
const evenOffsetsSince = Date.UTC(1973, 0);
const evenOffsetsSinceDate = 1973_01_01;
const cacheSizeMax = 10_000;

/** Formatting costs microseconds, and most events of a fleet are of the same hours. */
function dateIn(zone: string): (instant: number) => CalendarDate | undefined {
  const format = new Intl.DateTimeFormat('en-u-ca-gregory-nu-latn', {
    timeZone: zone,
    era: 'short',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
  });
  const cache = new Map<number, CalendarDate | undefined>();
  return (instant) => {
    if (instant < evenOffsetsSince) return formatDate(format, instant);
    const quarterHour = Math.floor(instant / quarterHourMs);
    if (!cache.has(quarterHour)) {
      if (cache.size >= cacheSizeMax) cache.clear();
      cache.set(quarterHour, formatDate(format, instant));
    }
    return cache.get(quarterHour);
  };
}

function formatDate(format: Intl.DateTimeFormat, instant: number): CalendarDate | undefined {
  const parts = format.formatToParts(instant);
  const part = (type: string) => parts.find((each) => each.type === type)?.value ?? '';
  const year = part('year').padStart(4, '0');
  const isInRange = year.length === 4 && !/^B/.test(part('era'));
  return isInRange ? `${year}-${part('month')}-${part('day')}` : undefined;
}
