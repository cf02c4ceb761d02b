import { addDays, countDays, daysOf, weekdayOf, type Day, type Range } from './calendar/days.ts';
import { previousRange } from './calendar/periods.ts';

/** Two ranges of as many days that are over. */
export interface Compared {
  readonly now: Range;
  readonly before: Range;
  /** Whether days were left out because they are not over. */
  readonly isCut: boolean;
}

/**
 * The days of a range that are over, and the days that they are compared with; undefined if none is
 * over. The first day of both is that of the whole range, so that a week's weekdays meet the same.
 */
export function comparedRanges(range: Range, today: Day): Compared | undefined {
  const before = previousRange(range, today);
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
  | { readonly kind: 'none'; readonly reason: 'not over' | 'no earlier days' }
  /** The earlier days are not all within the data, which begin on this day. */
  | { readonly kind: 'no data'; readonly firstDay: Day }
  | {
      readonly kind: 'known';
      readonly now: Range;
      readonly before: Range;
      readonly isCut: boolean;
      readonly events: Change;
      readonly failed: Change;
      /** Of which the failures are a share. */
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

/** `dataFrom`: the first day of the data as far as is known; undefined: before the earlier days. */
export function compare(
  { now: days, before: range, isCut }: Compared,
  now: Totals,
  before: Totals,
  dataFrom: Day | undefined,
): Comparison {
  if (dataFrom !== undefined && dataFrom > range.from)
    return { kind: 'no data', firstDay: dataFrom };
  const change = (name: keyof Totals): Change => ({ now: now[name], before: before[name] });
  return {
    ...{ kind: 'known', now: days, before: range, isCut },
    ...{ events: change('events'), failed: change('failed'), whole: change('whole') },
  };
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
