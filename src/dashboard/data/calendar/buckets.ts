import { monthText, shortDay } from './date-text.ts';
import {
  addDays,
  countDays,
  daysOf,
  firstOfMonth,
  lastOfMonth,
  weekdayOf,
  type Day,
  type Range,
} from './days.ts';

export const units = ['day', 'week', 'month'] as const;
export type Unit = (typeof units)[number];

/** The range of one bar: a day, a week or a month. */
export interface Bucket extends Range {
  readonly label: string;
  /** Whether the range contains only a part of the week or the month. */
  readonly isCut: boolean;
}

const daysAsBarsMax = 100;

/** The default unit: weeks if days would be too many bars. */
export function usualUnit(range: Range): Unit {
  return countDays(range) <= daysAsBarsMax ? 'day' : 'week';
}

/** Weeks start on Monday (ISO 8601); the range may cut the first and the last week or month. */
export function bucketsOf(range: Range, unit: Unit = usualUnit(range)): Bucket[] {
  const buckets: Bucket[] = [];
  for (let from = range.from; ; from = addDays(from, 1)) {
    const end = endOf(from, unit);
    const to = end < range.to ? end : range.to;
    const isCut = to !== end || from !== startOf(from, unit);
    buckets.push({ from, to, isCut, label: unit === 'month' ? monthText(from) : shortDay(from) });
    // The day after 9999-12-31 does not sort among the others.
    if (to === range.to) return buckets;
    from = to;
  }
}

function startOf(day: Day, unit: Unit): Day {
  if (unit === 'day') return day;
  return unit === 'month' ? firstOfMonth(day) : addDays(day, 1 - weekdayOf(day));
}

function endOf(day: Day, unit: Unit): Day {
  if (unit === 'day') return day;
  if (unit === 'month') return lastOfMonth(day);
  const sunday = addDays(day, 7 - weekdayOf(day));
  return sunday < day ? day : sunday;
}

export function bucketSums(buckets: readonly Bucket[], daily: ReadonlyMap<Day, number>): number[] {
  const at = bucketIndex(buckets);
  const sums = zeros(buckets.length);
  for (const [day, count] of daily) {
    const index = at.get(day);
    if (index !== undefined) sums[index] = (sums[index] ?? 0) + count;
  }
  return sums;
}

export function bucketIndex(buckets: readonly Bucket[]): Map<Day, number> {
  const at = new Map<Day, number>();
  buckets.forEach((bucket, index) => {
    for (const day of daysOf(bucket)) at.set(day, index);
  });
  return at;
}

export function zeros(length: number): number[] {
  return new Array<number>(length).fill(0);
}
