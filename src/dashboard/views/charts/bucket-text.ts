import type { Bucket, Unit } from '../../data/calendar/buckets.ts';
import { namedDay, rangeText } from '../../data/calendar/date-text.ts';
import type { Day, Range } from '../../data/calendar/days.ts';

/** A day with its weekday, or the days of a longer bucket. */
export function dayText(days: Range): string {
  return days.from === days.to ? namedDay(days.from) : rangeText(days);
}

/** Why a bucket has less than a whole day, week or month; undefined if it has all. */
export function whyPart(bucket: Bucket, unit: Unit, today: Day): string | undefined {
  if (bucket.to >= today) return 'incomplete';
  return bucket.isCut ? `only a part of the ${unit}` : undefined;
}

/** The meaning of pale bars, for legends; empty if there are none. */
export function partTexts(content: {
  readonly unit: Unit;
  readonly buckets: readonly Bucket[];
  readonly totals: readonly number[];
  readonly pale: readonly boolean[];
}): string[] {
  const { unit, buckets, totals, pale } = content;
  const shown = buckets.filter((_, index) => pale[index] === true && (totals[index] ?? 0) > 0);
  if (shown.length === 0) return [];
  return [unit === 'day' ? 'Pale: incomplete' : `Pale: not a whole ${unit}`];
}
