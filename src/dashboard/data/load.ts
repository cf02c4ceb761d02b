import type { Api } from './api.ts';
import { isFailure, sumBy, topNames, totalOf, type PairRow, type Row } from './counts.ts';
import {
  addDays,
  countDays,
  latestToday,
  previousRange,
  rangeDaysMax,
  type Day,
  type Range,
} from './days.ts';
import type { TableRow } from './table-rows.ts';
import { filterValuesMax, rangeOf, statsQuery, type PresetDays, type View } from './view.ts';

/** The data of a view. */
export interface Snapshot {
  readonly range: Range;
  readonly daily: ReadonlyMap<Day, number>;
  readonly failedDaily: ReadonlyMap<Day, number>;
  /** The top names by `view.split`. */
  readonly splitRows: readonly { date: Day; name: string; count: number }[];
  /** Daily totals with the filters applied. */
  readonly pairs: readonly PairRow[];
  /** Every counter of the range; undefined if there may be too many to load. */
  readonly rows: readonly TableRow[] | undefined;
  /** The choices of the filters. */
  readonly allTypes: readonly string[];
  readonly allStates: readonly string[];
  readonly previous: { readonly total: number; readonly failed: number } | undefined;
  /** If the range is empty: the latest days with counts. */
  readonly elsewhere: Range | undefined;
}

/** The count of a day, with the filters applied. */
export type DailyRow = Pick<Row, 'date' | 'count'>;

export const seriesMax = 8;
/** The most rows to load; beyond that, the server computes sums. */
export const rowsMax = 40_000;
/** How many years back the page looks for days with counts. */
export const yearsMax = 5;

export function probePath(view: View, days: PresetDays): string {
  return statsQuery(rangeOf(view, days), view, 'date');
}

/** Queries days after today that have counts; undefined if no time zone has reached tomorrow. */
export function aheadPath(today: Day, now: number): string | undefined {
  const range = { from: addDays(today, 1), to: latestToday(now) };
  return range.from > range.to ? undefined : statsQuery(range, noFilters, 'date');
}

/** The latest date with counts within a year from now; undefined if no future date has any. */
export async function lookAhead(api: Api, signal: AbortSignal): Promise<Day | undefined> {
  const from = addDays(latestToday(Date.now()), 1);
  const path = statsQuery({ from, to: addDays(from, rangeDaysMax - 1) }, noFilters, 'date');
  return ((await api.get(path, signal)).value as DailyRow[]).at(-1)?.date;
}

/**
 * Loads the data of a view. If there are few rows, they are loaded once and summed here. If there may be
 * many, the server computes sums, whose number depends on the names in the range, not on its days.
 * `isInUse`: whether other days may have counts. `daily` is the result of the probe that preceded these
 * requests: a change in between shows in the next probe.
 * @throws {ApiError}
 */
export async function load(
  api: Api,
  view: View,
  days: PresetDays,
  daily: readonly DailyRow[],
  isInUse: () => Promise<boolean>,
  signal: AbortSignal,
): Promise<Snapshot> {
  const range = rangeOf(view, days);
  const ask = async <T>(asked: Range, filters: Filters, groupBy?: string) =>
    (await api.get(statsQuery(asked, filters, groupBy), signal)).value as T[];
  const before = previousRange(range);
  const [allPairs, beforeRows] = await Promise.all([
    ask<PairRow>(range, noFilters, 'type,state'),
    before && ask<Pick<Row, 'state' | 'count'>>(before, view, 'state'),
  ]);
  const isWanted = wantedBy(view);
  const pairs = allPairs.filter(isWanted);
  const isFailing = (state: string) => isFailure(state, view.failureWords);
  const isFew = pairs.length * countDays(range) <= rowsMax;
  const counted = isFew
    ? sumRows(await ask<Row>(range, view), pairs, isFailing)
    : await askSums(ask, range, view, { pairs, daily }, isFailing);
  return {
    range,
    rows: isFew ? counted.split : undefined,
    pairs: counted.pairs,
    daily: sumBy(counted.daily, ({ date }) => date),
    failedDaily: sumBy(counted.failed, ({ date }) => date),
    splitRows: counted.split.map((row) => ({ ...row, name: row[view.split] })),
    allTypes: [...new Set(allPairs.map(({ type }) => type))],
    allStates: [...new Set(allPairs.map(({ state }) => state))].sort(),
    previous: beforeRows && {
      total: totalOf(beforeRows),
      failed: totalOf(beforeRows.filter(({ state }) => isFailing(state))),
    },
    elsewhere: allPairs.length > 0 ? undefined : await latestDays(ask, isInUse),
  };
}

type Filters = Pick<View, 'types' | 'states'>;
type Ask = <T>(range: Range, filters: Filters, groupBy?: string) => Promise<T[]>;
const noFilters: Filters = { types: [], states: [] };

function wantedBy({ types, states }: View): (row: PairRow) => boolean {
  const [typeSet, stateSet] = [new Set(types), new Set(states)];
  return ({ type, state }) =>
    (typeSet.size === 0 || typeSet.has(type)) && (stateSet.size === 0 || stateSet.has(state));
}

interface Counted {
  readonly daily: readonly DailyRow[];
  readonly failed: readonly DailyRow[];
  /** Rows of the top names by `view.split`, or all rows. */
  readonly split: readonly Row[];
  readonly pairs: readonly PairRow[];
}

function sumRows(
  rows: readonly Row[],
  pairs: readonly PairRow[],
  isFailing: (state: string) => boolean,
): Counted {
  const failed = rows.filter(({ state }) => isFailing(state));
  return { daily: rows, failed, split: rows, pairs: pairsOf(rows, pairs) };
}

/** Keeps the order of the server's response a moment before; new names come last. */
function pairsOf(rows: readonly Row[], ordered: readonly PairRow[]): PairRow[] {
  const keyOf = ({ type, state }: PairRow) => JSON.stringify([type, state]);
  const pairs = new Map(ordered.map((pair) => [keyOf(pair), { ...pair, count: 0 }]));
  for (const { type, state, count } of rows) {
    const key = keyOf({ type, state, count });
    const pair = pairs.get(key);
    if (pair === undefined) pairs.set(key, { type, state, count });
    else pair.count += count;
  }
  return [...pairs.values()].filter(({ count }) => count > 0);
}

async function askSums(
  ask: Ask,
  range: Range,
  view: View,
  { pairs, daily }: { readonly pairs: readonly PairRow[]; readonly daily: readonly DailyRow[] },
  isFailing: (state: string) => boolean,
): Promise<Counted> {
  const sums = sumBy(pairs, (row) => row[view.split]);
  const top = topNames(sums, seriesMax);
  const narrowed = view.split === 'type' ? { ...view, types: top } : { ...view, states: top };
  const failing = [...new Set(pairs.map(({ state }) => state))].filter(isFailing);
  const [split, failed] = await Promise.all([
    ask<Row>(range, narrowed, `date,${view.split}`),
    askFailures(ask, range, view, failing),
  ]);
  return { daily, failed, split, pairs };
}

/** Splits the names over requests, because each can name only some in its filters. */
async function askFailures(
  ask: Ask,
  range: Range,
  view: View,
  failing: readonly string[],
): Promise<DailyRow[]> {
  const answers: DailyRow[] = [];
  for (let start = 0; start < failing.length; start += filterValuesMax) {
    const states = failing.slice(start, start + filterValuesMax);
    answers.push(...(await ask<DailyRow>(range, { ...view, states }, 'date')));
  }
  return answers;
}

/** The first and last day with counts in the last year that has any. */
async function latestDays(ask: Ask, isInUse: () => Promise<boolean>): Promise<Range | undefined> {
  let to = latestToday(Date.now());
  for (let years = 0; years < yearsMax; years++) {
    const year = { from: addDays(to, 1 - rangeDaysMax), to };
    const rows = await ask<Pick<Row, 'date'>>(year, noFilters, 'date');
    const [first, last] = [rows[0], rows.at(-1)];
    if (first !== undefined && last !== undefined) return { from: first.date, to: last.date };
    if (!(await isInUse())) return undefined;
    to = addDays(year.from, -1);
  }
  return undefined;
}
