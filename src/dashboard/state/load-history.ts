import {
  failureTest,
  sumBy,
  topNames,
  type DailyRow,
  type PairRow,
  type Row,
} from '../data/counts.ts';
import { addDays, countDays, firstDay, type Day, type Range } from '../data/calendar/days.ts';
import { historyOf, windowOf, type History } from '../data/unusual/history.ts';
import { filterValuesMax, type Filters, type View } from '../data/view.ts';
import { noFilters, rowsMax, type Loading } from './load.ts';

/**
 * Loads the counts by which days are judged: of the chosen types, in any state. With many names, only
 * the totals, the failing states and the largest types.
 * @param pairs those of the chosen types in the range
 * @param rows those of the range, if they are loaded, with the filters applied
 */
export async function loadHistory(
  loading: Loading,
  pairs: readonly PairRow[],
  rows: readonly Row[] | undefined,
): Promise<History | undefined> {
  const { range, view, today } = loading;
  const isFailing = failureTest(view.failureWords);
  const window = windowOf(range, today);
  if (pairs.length === 0 || window.from < firstDay) return undefined;
  const ask = <T extends Dated>(filters: Filters, groupBy?: string) =>
    askWindow<T>(loading, window, filters, groupBy);
  const daily = view.types.length === 0 ? undefined : ask<DailyRow>(noFilters, 'date');
  if (pairs.length * countDays(window) > rowsMax) {
    const totals = await askTotals(view, isFailing, ask, pairs, countDays(window));
    return historyOf(window, totals, isFailing, await daily);
  }
  const filters = { types: view.types, states: [] };
  const isWhole = rows !== undefined && view.states.length === 0;
  const [all, counts] = await Promise.all([
    askWindow<Row>(loading, window, filters, undefined, isWhole ? rows : undefined),
    daily,
  ]);
  return historyOf(window, all, isFailing, counts);
}

type Dated = Pick<Row, 'date'>;

/**
 * Requests the days of a window: those before, in and after the range, because a response is
 * limited to a year, and the days outside the range seldom change.
 */
async function askWindow<T extends Dated>(
  { ask, range }: Loading,
  window: Range,
  filters: Filters,
  groupBy?: string,
  within?: readonly T[],
): Promise<T[]> {
  const part = (from: Day, to: Day) =>
    from > to ? [] : ask<T>({ from, to }, filters, groupBy, true);
  const parts = await Promise.all([
    part(window.from, addDays(range.from, -1)),
    within ?? ask<T>(range, filters, groupBy),
    // There are no days after the last day of the calendar.
    window.to > range.to ? part(addDays(range.to, 1), window.to) : [],
  ]);
  return parts.flat();
}

type AskWindow = <T extends Dated>(filters: Filters, groupBy?: string) => Promise<T[]>;

/** Few enough for a filter. */
const typesMax = 50;

/** Rows of the failing states, of the largest types, and of the rest of each day. */
async function askTotals(
  view: View,
  isFailing: (state: string) => boolean,
  ask: AskWindow,
  pairs: readonly PairRow[],
  days: number,
): Promise<Row[]> {
  const states = [...new Set(pairs.map(({ state }) => state))].filter(isFailing);
  const failing = states.slice(0, filterValuesMax);
  const most = Math.floor(rowsMax / (days * (failing.length + 1)));
  const largest = topNames(
    sumBy(pairs, ({ type }) => type),
    Math.min(typesMax, most),
  );
  const all = { types: view.types, states: [] };
  const [daily, failed, ofTypes, failedOfTypes] = await Promise.all([
    ask<DailyRow>(all, 'date'),
    failing.length === 0 ? [] : ask<Omit<Row, 'type'>>({ ...all, states: failing }, 'date,state'),
    largest.length === 0 ? [] : ask<Omit<Row, 'state'>>({ ...all, types: largest }, 'date,type'),
    failing.length === 0 || largest.length === 0
      ? []
      : ask<Row>({ types: largest, states: failing }),
  ]);
  const named = [
    ...failedOfTypes,
    ...restOf(ofTypes, failedOfTypes, ({ date, type }) => `${date} ${type ?? ''}`),
  ];
  const others = restOf(failed, failedOfTypes, ({ date, state }) => `${date} ${state ?? ''}`);
  return [...named, ...others, ...restOf(daily, [...named, ...others], ({ date }) => date)];
}

type Sum = DailyRow & Partial<Pick<Row, 'type' | 'state'>>;

/** The rest of the sums beyond their parts; an empty name stands for several. */
function restOf(sums: readonly Sum[], parts: readonly Row[], keyOf: (row: Sum) => string): Row[] {
  const known = sumBy(parts, keyOf);
  return sums.map((sum) => ({
    ...{ type: '', state: '', ...sum },
    count: Math.max(0, sum.count - (known.get(keyOf(sum)) ?? 0)),
  }));
}
