import { daysOf, type Bucket, type Day } from './days.ts';

/** A row of `/stats`, with the requested dimensions. */
export interface Row {
  readonly date: Day;
  readonly type: string;
  readonly state: string;
  readonly count: number;
}
export type PairRow = Omit<Row, 'date'>;

export function isFailure(state: string, words: readonly string[]): boolean {
  const lower = state.toLowerCase();
  return words.some((word) => lower.includes(word.toLowerCase()));
}

export function sumBy<T extends { readonly count: number }>(
  rows: readonly T[],
  keyOf: (row: T) => string,
): Map<string, number> {
  const sums = new Map<string, number>();
  for (const row of rows) {
    const key = keyOf(row);
    sums.set(key, (sums.get(key) ?? 0) + row.count);
  }
  return sums;
}

export function totalOf(rows: Iterable<{ readonly count: number }>): number {
  let total = 0;
  for (const { count } of rows) total += count;
  return total;
}

/** The names with the largest sums, in descending order; equal sums by name. */
export function topNames(sums: ReadonlyMap<string, number>, max: number): string[] {
  return [...sums]
    .sort(([nameA, a], [nameB, b]) => b - a || (nameA < nameB ? -1 : 1))
    .slice(0, max)
    .map(([name]) => name);
}

export interface Series {
  /** Undefined: the sum of all names without a series of their own. */
  readonly name: string | undefined;
  /** How many names it sums. */
  readonly names: number;
  /** One value for each bucket. */
  readonly values: readonly number[];
}

/** Splits daily totals into series of the top names, and one of all others if there are any. */
export function seriesOf(
  buckets: readonly Bucket[],
  rows: readonly { readonly date: Day; readonly name: string; readonly count: number }[],
  daily: ReadonlyMap<Day, number>,
  sums: ReadonlyMap<string, number>,
  namesMax: number,
): Series[] {
  const top = topNames(sums, namesMax);
  const at = bucketIndex(buckets);
  const values = new Map(top.map((name) => [name, zeros(buckets.length)]));
  const others = bucketSums(buckets, daily);
  for (const { date, name, count } of rows) {
    const own = values.get(name);
    const index = at.get(date);
    if (own === undefined || index === undefined) continue;
    own[index] = (own[index] ?? 0) + count;
    others[index] = Math.max(0, (others[index] ?? 0) - count);
  }
  const series: Series[] = [...values].map(([name, own]) => ({ name, names: 1, values: own }));
  const names = sums.size - top.length;
  return names === 0 ? series : [...series, { name: undefined, names, values: others }];
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

function bucketIndex(buckets: readonly Bucket[]): Map<Day, number> {
  const at = new Map<Day, number>();
  buckets.forEach((bucket, index) => {
    for (const day of daysOf(bucket)) at.set(day, index);
  });
  return at;
}

function zeros(length: number): number[] {
  return new Array<number>(length).fill(0);
}

/** Whether a value has no neighbour, so that no line leads to it. */
export function standsAlone(values: readonly (number | null)[], index: number): boolean {
  return [index - 1, index + 1].every((beside) => typeof values[beside] !== 'number');
}

interface HeatMap {
  /** Undefined: all others. */
  readonly types: readonly (string | undefined)[];
  readonly states: readonly (string | undefined)[];
  /** By type, then by state. */
  readonly cells: readonly (readonly number[])[];
  readonly largest: number;
}

/** The sums by type and state, of the top names and all others. */
export function heatMapOf(pairs: readonly PairRow[], typesMax: number, statesMax: number): HeatMap {
  const axis = (keyOf: (row: PairRow) => string, max: number) => {
    const sums = sumBy(pairs, keyOf);
    const top: (string | undefined)[] = topNames(sums, max);
    return sums.size > top.length ? [...top, undefined] : top;
  };
  const types = axis(({ type }) => type, typesMax);
  const states = axis(({ state }) => state, statesMax);
  const cells = types.map(() => zeros(states.length));
  for (const { type, state, count } of pairs) {
    // The index of other names is -1: the last row and column are theirs.
    const row = cells.at(types.indexOf(type)) ?? [];
    const column = (states.indexOf(state) + states.length) % states.length;
    row[column] = (row[column] ?? 0) + count;
  }
  return { types, states, cells, largest: Math.max(0, ...cells.flat()) };
}
