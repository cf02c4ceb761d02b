import { weeks } from './history.ts';

/*
 * The rule by which a day is unusual. It compares a number with those of the same weekday in the eight
 * weeks before: with their median, and with their spread, the median distance from the median. A
 * difference is unusual if it is
 *  - more than five times the spread, and
 *  - at least a quarter of the median for a count, or half of it for a failure rate or a single name, and
 *  - more than chance explains: four times the square root of the expected number, five times for a single
 *    name, because there are many of them.
 * With fewer than four such days there is too little to compare with. A run of unusual days includes days
 * that come halfway to these bounds. docs/querying.md has the same text.
 */
const weeksMin = 4;
const spreads = 5;
const halfway = 0.5;

/** How far a number must be from the median. */
export interface Bounds {
  /** The least share of the median. */
  readonly share: number;
  /** How many times the square root of the expected number is due to chance. */
  readonly chance: number;
}

export const boundsOfCount: Bounds = { share: 0.25, chance: 4 };
export const boundsOfRate: Bounds = { share: 0.5, chance: 4 };
/** For single names, of which there are many. */
export const boundsOfName: Bounds = { share: 0.5, chance: 5 };

export interface Verdict {
  /**
   * `raised`: halfway to unusual; `unclear`: so small a number that twice as many could be chance;
   * `unknown`: nothing to compare with.
   */
  readonly kind: 'unusual' | 'raised' | 'usual' | 'unclear' | 'unknown';
  /** 1: above the median; -1: below. */
  readonly sign: number;
  /** A count, or a share from 0 to 1. */
  readonly value: number;
  readonly median: number;
  readonly spread: number;
}

/** Judges the count of a day. Counts before the index `first` are not known. */
export function judgeCount(
  counts: readonly number[],
  day: number,
  first: number,
  bounds = boundsOfCount,
): Verdict {
  const before = sameWeekdays(day, first).map((index) => counts[index] ?? 0);
  return verdict(before, counts[day] ?? 0, 1, bounds);
}

/** Judges the share `part / whole` of a day; days without a whole have none. */
export function judgeRate(
  part: readonly number[],
  whole: readonly number[],
  day: number,
  first: number,
  bounds = boundsOfRate,
): Verdict {
  const rate = (index: number) => (part[index] ?? 0) / (whole[index] ?? 0);
  const days = sameWeekdays(day, first).filter((index) => (whole[index] ?? 0) > 0);
  const all = whole[day] ?? 0;
  if (all === 0) return { kind: 'unknown', sign: 0, value: 0, median: 0, spread: 0 };
  return verdict(days.map(rate), rate(day), all, bounds);
}

function sameWeekdays(day: number, first: number): number[] {
  return Array.from({ length: weeks }, (_, week) => day - 7 * (week + 1)).filter(
    (index) => index >= first,
  );
}

/** @param size by how much to multiply a value to get a number of events */
function verdict(
  before: readonly number[],
  value: number,
  size: number,
  { share, chance }: Bounds,
): Verdict {
  const median = medianOf(before);
  const spread = medianOf(before.map((each) => Math.abs(each - median)));
  const sign = Math.sign(value - median);
  const of = (kind: Verdict['kind']): Verdict => ({ kind, sign, value, median, spread });
  if (before.length < weeksMin) return of('unknown');
  const byChance = chanceOf(median * size, chance) / size;
  const isBeyond = (part: number) => {
    const difference = Math.abs(value - median) / part;
    return difference > spreads * spread && difference >= share * median && difference > byChance;
  };
  if (isBeyond(1)) return of('unusual');
  if (isBeyond(halfway)) return of('raised');
  return of(median > byChance ? 'usual' : 'unclear');
}

/** The difference from an expected number that chance explains. */
export function chanceOf(expected: number, chance: number): number {
  return chance * Math.sqrt(Math.max(1, expected));
}

export function medianOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low = 0, high = 0] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return (low + high) / 2;
}
