import { addDays, countDays, daysOf, weekdayOf, type Day, type Range } from './calendar/days.ts';
import { previousRange, type PresetName } from './calendar/periods.ts';

/** Two ranges with the same number of complete days. */
export interface Compared {
  readonly now: Range;
  readonly before: Range;
  /** Whether days were left out because they are not complete. */
  readonly isCut: boolean;
}

/**
 * The complete days of a range, and the days that they are compared with; undefined if no day is
 * complete. Both begin with the first day of their whole range, so that equal weekdays are
 * compared.
 */
export function comparedRanges(
  range: Range,
  today: Day,
  preset?: PresetName,
): Compared | undefined {
  const before = previousRange(range, today, preset);
  const yesterday = addDays(today, -1);
  const isCut = range.to > yesterday;
  const now = isCut ? { from: range.from, to: yesterday } : range;
  if (before === undefined || now.to < now.from) return undefined;
  if (!isCut) return { now, before, isCut };
  const end = addDays(before.from, countDays(now) - 1);
  return { now, before: { from: before.from, to: end < before.to ? end : before.to }, isCut };
}

/** How the numbers of a range relate to those before it. */
export type Comparison =
  | { readonly kind: 'none'; readonly reason: 'incomplete' | 'no earlier days' }
  | ({ readonly kind: 'no data' } & DataStart)
  | {
      readonly kind: 'known';
      readonly now: Range;
      readonly before: Range;
      readonly isCut: boolean;
      readonly events: Change;
      readonly failed: Change;
      /** The events of which the failures are a share. */
      readonly whole: Change;
    };

export interface Change {
  readonly now: number;
  readonly before: number;
}

/** Numbers of a range; failures are a share of the whole. */
export interface Totals {
  readonly events: number;
  readonly failed: number;
  readonly whole: number;
}

/** `start`: undefined if the data reach back further than is known. */
export function compare(
  { now: days, before: range, isCut }: Compared,
  now: Totals,
  before: Totals,
  start: DataStart | undefined,
): Comparison {
  if (start !== undefined && start.firstDay > range.from) return { kind: 'no data', ...start };
  const change = (name: keyof Totals): Change => ({ now: now[name], before: before[name] });
  return {
    ...{ kind: 'known', now: days, before: range, isCut },
    ...{ events: change('events'), failed: change('failed'), whole: change('whole') },
  };
}

/** Where the data begin. */
export interface DataStart {
  readonly firstDay: Day;
  /** Whether there are events before it: isolated ones, or those of an earlier period. */
  readonly hasOlder: boolean;
}

/**
 * A series may have no events for this many days, as in a summer break, without its later data
 * counting as new.
 */
export const restDaysMax = 28;
/** Days with a smaller share of the usual number of events have only events from wrong clocks. */
const strayShare = 0.02;

/**
 * Where regular data begin: after the last gap of more than `restDaysMax` days, on the first day
 * whose week has events on at least half as many days as usual. A few events with wrong clocks do
 * not count.
 * @param daily the counts of days, in the order of the days
 */
export function dataStart(
  daily: readonly { readonly date: Day; readonly count: number }[],
): DataStart | undefined {
  const usual = medianOf(daily.map(({ count }) => count));
  const days = daily.flatMap(({ date, count }) => (count < usual * strayShare ? [] : [date]));
  const afterRest = days.findLastIndex((day, index) => {
    const before = days[index - 1];
    return before !== undefined && countDays({ from: before, to: day }) - 1 > restDaysMax;
  });
  const run = days.slice(Math.max(0, afterRest));
  const inWeek = run.map((day, index) => {
    const end = addDays(day, 7);
    return run.slice(index, index + 7).filter((each) => each < end).length;
  });
  const regular = medianOf(inWeek) / 2;
  const firstDay = run.find((_, index) => (inWeek[index] ?? 0) >= regular);
  if (firstDay === undefined) return undefined;
  return { firstDay, hasOlder: daily.some(({ date }) => date < firstDay) };
}

function medianOf(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** The days before that stand for the days of a range: the first for the first. */
export function movedTo(
  { now, before }: { readonly now: Range; readonly before: Range },
  daily: ReadonlyMap<Day, number>,
): Map<Day, number> {
  const shift = countDays({ from: before.from, to: now.from }) - 1;
  return new Map(daysOf(before).map((day) => [addDays(day, shift), daily.get(day) ?? 0]));
}

/**
 * Whether both have the same number of days, and of days from Monday to Friday: only then can sums
 * be compared.
 */
export function areAlike(a: Range, b: Range): boolean {
  return countDays(a) === countDays(b) && workdaysIn(a) === workdaysIn(b);
}

/** How many days of a range are Monday to Friday. */
export function workdaysIn(range: Range): number {
  return daysOf(range).filter((day) => weekdayOf(day) <= 5).length;
}

/** The sum of the days of a range. */
export function sumWithin(daily: ReadonlyMap<Day, number>, { from, to }: Range): number {
  let sum = 0;
  for (const [day, count] of daily) if (day >= from && day <= to) sum += count;
  return sum;
}
