/** A day of the calendar, as YYYY-MM-DD. */
export type Day = string;

export interface Range {
  readonly from: Day;
  /** The last day, which is included. */
  readonly to: Day;
}

export const rangeDaysMax = 366;
/** The earliest day of `/stats`. */
export const firstDay: Day = '0001-01-01';
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

/**
 * Today by the day rule of the pipeline; if the rule has no time zone, today in the viewer's zone.
 */
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

/** Milliseconds since 1970 at the start of the day in UTC. */
export function timeOf(day: Day): number {
  return Date.parse(`${day}T00:00:00Z`);
}

/** 1, Monday, to 7, Sunday (ISO 8601). */
export function weekdayOf(day: Day): number {
  return new Date(timeOf(day)).getUTCDay() || 7;
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

export function firstOfMonth(day: Day): Day {
  return `${day.slice(0, 8)}01`;
}

export function lastOfMonth(day: Day): Day {
  const date = new Date(timeOf(firstOfMonth(day)));
  date.setUTCMonth(date.getUTCMonth() + 1, 0);
  return dayOf(date.getTime());
}

/** The days of both ranges; undefined if there are none. */
export function overlapOf(a: Range, b: Range): Range | undefined {
  const from = a.from > b.from ? a.from : b.from;
  const to = a.to < b.to ? a.to : b.to;
  return from > to ? undefined : { from, to };
}
