import type { Day } from './calendar/days.ts';

/** A row of `/stats`, with the requested dimensions. */
export interface Row {
  readonly date: Day;
  readonly type: string;
  readonly state: string;
  readonly count: number;
}
export type PairRow = Omit<Row, 'date'>;
/** The count of a day. */
export type DailyRow = Pick<Row, 'date' | 'count'>;

export function isFailure(state: string, words: readonly string[]): boolean {
  const lower = state.toLowerCase();
  return words.some((word) => lower.includes(word.toLowerCase()));
}

/** The same as `isFailure`, computed once for each state. */
export function failureTest(words: readonly string[]): (state: string) => boolean {
  const known = new Map<string, boolean>();
  return (state) => {
    const isKnown = known.get(state);
    if (isKnown !== undefined) return isKnown;
    const isFailing = isFailure(state, words);
    known.set(state, isFailing);
    return isFailing;
  };
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

export function sumOf(values: Iterable<number>): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum;
}

/** The names with the largest sums, in descending order; equal sums by name. */
export function topNames(sums: ReadonlyMap<string, number>, max: number): string[] {
  return [...sums]
    .sort(([nameA, a], [nameB, b]) => b - a || (nameA < nameB ? -1 : 1))
    .slice(0, max)
    .map(([name]) => name);
}
