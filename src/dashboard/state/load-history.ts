import type { DailyRow, PairRow, Row } from '../data/counts.ts';
import { addDays, countDays, firstDay, type Range } from '../data/calendar/days.ts';
import { historyOf, windowOf, type History } from '../data/unusual/history.ts';
import { filterValuesMax } from '../data/view.ts';
import { rowsMax, type Loading } from './load.ts';

/**
 * Loads the counts by which days are judged: of the chosen types, in any state. With many names, only
 * the totals and the failing states.
 * @param pairs those of the chosen types in the range
 * @param rows those of the range, if they are loaded, with the filters applied
 */
export async function loadHistory(
  loading: Loading,
  pairs: readonly PairRow[],
  rows: readonly Row[] | undefined,
): Promise<History | undefined> {
  const { range, view, isFailing } = loading;
  const window = windowOf(range);
  if (pairs.length === 0 || window.from < firstDay) return undefined;
  if (pairs.length * countDays(window) > rowsMax) {
    return historyOf(window, await askTotals(loading, window, pairs), isFailing);
  }
  const filters = { types: view.types, states: [] };
  const isWhole = rows !== undefined && view.states.length === 0;
  const [before, within] = await Promise.all([
    window.from >= range.from
      ? []
      : loading.ask<Row>(
          { from: window.from, to: addDays(range.from, -1) },
          filters,
          undefined,
          true,
        ),
    isWhole ? rows : loading.ask<Row>(range, filters),
  ]);
  return historyOf(window, [...before, ...within], isFailing);
}

/** Rows without types, and without the states that are no failures. */
async function askTotals(
  { ask, view: { types }, isFailing }: Loading,
  window: Range,
  pairs: readonly PairRow[],
): Promise<Row[]> {
  const states = [...new Set(pairs.map(({ state }) => state))].filter(isFailing);
  const asked = states.slice(0, filterValuesMax);
  const [daily, failed] = await Promise.all([
    ask<DailyRow>(window, { types, states: [] }, 'date', true),
    asked.length === 0
      ? []
      : ask<Omit<Row, 'type'>>(window, { types, states: asked }, 'date,state', true),
  ]);
  const left = new Map(daily.map(({ date, count }) => [date, count]));
  for (const { date, count } of failed) left.set(date, (left.get(date) ?? 0) - count);
  return [
    ...failed.map((row) => ({ ...row, type: '' })),
    ...[...left].map(([date, count]) => ({ date, type: '', state: '', count })),
  ];
}
