import { bucketIndex, bucketSums, zeros, type Bucket } from './calendar/buckets.ts';
import { topNames } from './counts.ts';
import type { Day } from './calendar/days.ts';

/** A part of the stacked chart: one name, or the sum of several. */
export interface Series {
  /** Undefined: the sum of all names of this kind without a series of their own. */
  readonly name: string | undefined;
  /** How many names the series sums. */
  readonly names: number;
  readonly isFailing: boolean;
  /** One value for each bucket. */
  readonly values: readonly number[];
}

interface SeriesNames {
  readonly failing: readonly string[];
  readonly others: readonly string[];
}

export const seriesMax = 8;
/** The number of shades of the failures' hue. */
const failingMax = 3;

/**
 * The names that get a series: failing names first, so that larger other names do not displace
 * them.
 */
export function seriesNames(
  sums: ReadonlyMap<string, number>,
  isFailing: (name: string) => boolean,
): SeriesNames {
  const of = (wanted: boolean) => new Map([...sums].filter(([name]) => isFailing(name) === wanted));
  const failing = topNames(of(true), failingMax);
  return { failing, others: topNames(of(false), seriesMax - failing.length) };
}

interface Counts {
  readonly rows: readonly { readonly date: Day; readonly name: string; readonly count: number }[];
  readonly daily: ReadonlyMap<Day, number>;
  /** The daily totals of all failing names. */
  readonly failedDaily: ReadonlyMap<Day, number>;
  readonly sums: ReadonlyMap<string, number>;
}

/**
 * Splits daily totals into series: the failing names, all other failures as one, the other names, and
 * the rest as one. Each bucket's values add up to its total.
 */
export function seriesOf(
  buckets: readonly Bucket[],
  { rows, daily, failedDaily, sums }: Counts,
  isFailing: (name: string) => boolean,
): Series[] {
  const names = seriesNames(sums, isFailing);
  const at = bucketIndex(buckets);
  const values = new Map([...names.failing, ...names.others].map((name) => [name, zeros(at.size)]));
  for (const { date, name, count } of rows) {
    const own = values.get(name);
    const index = at.get(date);
    if (own !== undefined && index !== undefined) own[index] = (own[index] ?? 0) + count;
  }
  const own = (list: readonly string[], failing: boolean): Series[] =>
    list.map((name) => ({
      ...{ name, names: 1, isFailing: failing },
      values: (values.get(name) ?? []).slice(0, buckets.length),
    }));
  const failing = own(names.failing, true);
  const others = own(names.others, false);
  const failingNames = [...sums.keys()].filter(isFailing).length;
  const total = bucketSums(buckets, daily);
  const failed = failingNames === 0 ? zeros(total.length) : bucketSums(buckets, failedDaily);
  const passed = total.map((sum, index) => sum - (failed[index] ?? 0));
  return [
    ...failing,
    ...restOf(failed, failing, failingNames, true),
    ...others,
    ...restOf(passed, others, sums.size - failingNames, false),
  ];
}

function restOf(
  totals: readonly number[],
  named: readonly Series[],
  names: number,
  isFailing: boolean,
): Series[] {
  if (names === named.length) return [];
  const rest = totals.map((total, index) =>
    Math.max(
      0,
      named.reduce((left, { values }) => left - (values[index] ?? 0), total),
    ),
  );
  return [{ name: undefined, names: names - named.length, isFailing, values: rest }];
}
