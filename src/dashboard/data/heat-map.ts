import { sumBy, sumOf, topNames, type PairRow } from './counts.ts';
import { zeros } from './calendar/buckets.ts';

export const heatModes = [
  ['count', 'Counts'],
  ['share', 'Share of row'],
  ['rate', 'Failure rate'],
] as const;
export type HeatMode = (typeof heatModes)[number][0];

export interface HeatColumn {
  /** Undefined: all other states of this kind. */
  readonly name: string | undefined;
  readonly isFailing: boolean;
}

export interface HeatMap {
  /** Undefined: all others. */
  readonly types: readonly (string | undefined)[];
  /** The columns, failing states first: a phone shows only some columns at once. */
  readonly columns: readonly HeatColumn[];
  /** The cells by type, then by column. */
  readonly cells: readonly (readonly number[])[];
  readonly rowTotals: readonly number[];
  readonly columnTotals: readonly number[];
  readonly total: number;
}

const typesMax = 9;
const statesMax = 6;
const failingMax = 4;

/** The sums by type and state, of the top names and all others, with their totals. */
export function heatMapOf(
  pairs: readonly PairRow[],
  isFailing: (state: string) => boolean,
): HeatMap {
  const typeSums = sumBy(pairs, ({ type }) => type);
  const top: (string | undefined)[] = topNames(typeSums, typesMax);
  const types = typeSums.size > top.length ? [...top, undefined] : top;
  const columns = columnsOf(pairs, isFailing);
  const cells = types.map(() => zeros(columns.length));
  const rowAt = new Map(types.map((type, index) => [type, index]));
  const columnAt = new Map(columns.map(({ name }, index) => [name, index]));
  const restOf = (failing: boolean) =>
    columns.findIndex((column) => column.name === undefined && column.isFailing === failing);
  const rests = { passed: restOf(false), failed: restOf(true) };
  for (const { type, state, count } of pairs) {
    const row = cells[rowAt.get(type) ?? types.length - 1] ?? [];
    const column = columnAt.get(state) ?? (isFailing(state) ? rests.failed : rests.passed);
    row[column] = (row[column] ?? 0) + count;
  }
  const rowTotals = cells.map(sumOf);
  const columnTotals = columns.map((_, index) => sumOf(cells.map((row) => row[index] ?? 0)));
  return { types, columns, cells, rowTotals, columnTotals, total: sumOf(rowTotals) };
}

function columnsOf(pairs: readonly PairRow[], isFailing: (state: string) => boolean): HeatColumn[] {
  const sums = sumBy(pairs, ({ state }) => state);
  return [true, false].flatMap((failing) => {
    const own = new Map([...sums].filter(([name]) => isFailing(name) === failing));
    const top = topNames(own, failing ? failingMax : statesMax);
    const named = top.map((name): HeatColumn => ({ name, isFailing: failing }));
    return own.size > top.length ? [...named, { name: undefined, isFailing: failing }] : named;
  });
}

export const shades = 8;

/** The shade of a value, from 0 (nothing) up; of counts logarithmic, because they differ by powers of ten. */
export function shadeOf(value: number, largest: number, mode: HeatMode): number {
  if (value <= 0) return 0;
  const part = value / largest;
  const share = mode === 'count' ? Math.log1p(99 * part) / Math.log(100) : part;
  return Math.max(1, Math.min(shades, Math.round(share * shades)));
}
