/** A day of the calendar, as YYYY-MM-DD. */
export type Day = string;

export interface Range {
  readonly from: Day;
  /** Inclusive. */
  readonly to: Day;
}

export const rangeDaysMax = 366;
/** The earliest day of `/stats`. */
const firstDay: Day = '0001-01-01';
const dayMs = 86_400_000;

export function isDay(text: string): boolean {
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return false;
  const time = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(time) && dayOf(time) === text && text >= firstDay;
}

/** The day in UTC. */
export function dayOf(time: number): Day {
  return new Date(time).toISOString().slice(0, 10);
}

/** The day rule by which an item counts on the date as written in its timestamp. */
export const asWritten = 'as-written';

/** Today by the day rule of the pipeline; by a rule without a time zone, today in the viewer's zone. */
export function todayIn(dayZone: string, now: number): Day {
  if (dayZone === 'UTC') return dayOf(now);
  const parts = clockOf(dayZone).formatToParts(now);
  const part = (type: string) => parts.find((each) => each.type === type)?.value ?? '';
  return `${part('year')}-${part('month')}-${part('day')}`;
}

function clockOf(dayZone: string): Intl.DateTimeFormat {
  const form = { year: 'numeric', month: '2-digit', day: '2-digit' } as const;
  const viewers = () => new Intl.DateTimeFormat('en-u-ca-gregory-nu-latn', form);
  if (dayZone === asWritten) return viewers();
  try {
    return new Intl.DateTimeFormat('en-u-ca-gregory-nu-latn', { ...form, timeZone: dayZone });
  } catch {
    // The browser does not support the zone.
    return viewers();
  }
}

/** Today's date in the time zone where it is latest. */
export function latestToday(now: number): Day {
  return addDays(dayOf(now), 1);
}

/** Describes the day rule. */
export function dayRuleText(dayZone: string): string {
  return dayZone === asWritten ? 'Days as written in the timestamps' : `Days in ${dayZone}`;
}

function timeOf(day: Day): number {
  return Date.parse(`${day}T00:00:00Z`);
}

export function addDays(day: Day, days: number): Day {
  return dayOf(timeOf(day) + days * dayMs);
}

export function countDays({ from, to }: Range): number {
  return Math.round((timeOf(to) - timeOf(from)) / dayMs) + 1;
}

export function daysOf(range: Range): Day[] {
  return Array.from({ length: countDays(range) }, (_, index) => addDays(range.from, index));
}

/** The range of the same length that ends before this one starts; undefined before the first day. */
export function previousRange({ from, to }: Range): Range | undefined {
  const length = countDays({ from, to });
  if (timeOf(from) - length * dayMs < timeOf(firstDay)) return undefined;
  return { from: addDays(from, -length), to: addDays(from, -1) };
}

/** The range of one bar: a day, or if there would be too many bars, a week or a part of one. */
export interface Bucket extends Range {
  readonly label: string;
}

const daysAsBarsMax = 100;

/** Weeks start on Monday (ISO 8601); the range may cut the first and the last. */
export function bucketsOf(range: Range): Bucket[] {
  const days = daysOf(range);
  if (days.length <= daysAsBarsMax) {
    return days.map((day) => ({ from: day, to: day, label: shortDay(day) }));
  }
  const buckets: Bucket[] = [];
  for (let from = range.from; from <= range.to;) {
    const untilSunday = (7 - new Date(timeOf(from)).getUTCDay()) % 7;
    const sunday = addDays(from, untilSunday);
    const to = sunday < range.to ? sunday : range.to;
    buckets.push({ from, to, label: shortDay(from) });
    from = addDays(to, 1);
  }
  return buckets;
}

const short = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', timeZone: 'UTC' });
const long = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  year: 'numeric',
  timeZone: 'UTC',
});

function shortDay(day: Day): string {
  return short.format(timeOf(day));
}

export function longDay(day: Day): string {
  return long.format(timeOf(day));
}

export function rangeText({ from, to }: Range): string {
  return from === to ? longDay(from) : `${longDay(from)} – ${longDay(to)}`;
}
