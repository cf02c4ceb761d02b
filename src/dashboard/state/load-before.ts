import { compare, comparedRanges, sumWithin, type Comparison } from '../data/comparison.ts';
import { sumBy, type DailyRow, type PairRow } from '../data/counts.ts';
import {
  addDays,
  countDays,
  firstDay,
  rangeDaysMax,
  type Day,
  type Range,
} from '../data/calendar/days.ts';
import { previousRange, sameWeekdaysBefore } from '../data/calendar/periods.ts';
import { noFilters, totalsOf, type Ask, type Loading } from './load.ts';

/** The days before the range. */
export interface Before {
  readonly comparison: Comparison;
  /** The days that the chart can show behind the range, with the filters applied; undefined without counts. */
  readonly earlier: { readonly range: Range; readonly daily: ReadonlyMap<Day, number> } | undefined;
  /** Those of the chosen types; undefined if the earlier days are not all within the data. */
  readonly earlierPairs: readonly PairRow[] | undefined;
}

interface NowDaily {
  readonly events: ReadonlyMap<Day, number>;
  readonly failed: ReadonlyMap<Day, number>;
  readonly whole: ReadonlyMap<Day, number>;
}

export async function loadBefore(loading: Loading, now: NowDaily): Promise<Before> {
  const { ask, view, range, today, isFailing } = loading;
  const previous = previousRange(range, today);
  const compared = comparedRanges(range, today);
  if (previous === undefined || compared === undefined) {
    const reason = previous === undefined ? 'no earlier days' : 'not over';
    return { comparison: { kind: 'none', reason }, earlier: undefined, earlierPairs: undefined };
  }
  const earlier = sameWeekdaysBefore(range);
  const [dataFrom, pairs, earlierRows] = await Promise.all([
    startOfData(ask, { from: previous.from, to: addDays(range.from, -1) }, firstOf(now.whole)),
    ask<PairRow>(compared.before, { types: view.types, states: [] }, 'type,state', true),
    earlier === undefined ? [] : ask<DailyRow>(earlier, view, 'date', true),
  ]);
  const totals = {
    events: sumWithin(now.events, compared.now),
    failed: sumWithin(now.failed, compared.now),
    whole: sumWithin(now.whole, compared.now),
  };
  const before = totalsOf(pairs, view, isFailing);
  const comparison = compare(compared, totals, before, dataFrom);
  return {
    comparison,
    earlier:
      earlier === undefined || !reachesBack(earlierRows, earlier)
        ? undefined
        : { range: earlier, daily: sumBy(earlierRows, ({ date }) => date) },
    earlierPairs: comparison.kind === 'known' ? pairs : undefined,
  };
}

/** Whether there are counts in the first half of a range: those of its last days only would mislead. */
function reachesBack([first]: readonly DailyRow[], { from, to }: Range): boolean {
  const half = Math.floor(countDays({ from, to }) / 2);
  return first !== undefined && first.date <= addDays(from, half);
}

function firstOf(daily: ReadonlyMap<Day, number>): Day | undefined {
  let first: Day | undefined;
  for (const day of daily.keys()) if (first === undefined || day < first) first = day;
  return first;
}

/** A line may rest for some days at the start of a period, without that the data begin there. */
const restDays = 14;

/** The first day of the data if it is within or after a range; undefined if there are older data. */
async function startOfData(
  ask: Ask,
  range: Range,
  later: Day | undefined,
): Promise<Day | undefined> {
  const askDays = (from: Day, to: Day) =>
    ask<DailyRow>({ from: latestOf(from, firstDay), to }, noFilters, 'date', true);
  const rested = addDays(range.from, -restDays);
  const rows = await askDays(latestOf(rested, addDays(range.to, 1 - rangeDaysMax)), range.to);
  const first = rows[0]?.date ?? later;
  if (first === undefined || first <= range.from) return undefined;
  const to = addDays(range.from, -restDays - 1);
  const older = to < firstDay ? [] : await askDays(addDays(to, 1 - rangeDaysMax), to);
  return older.length > 0 ? undefined : first;
}

/** The later of two days. Days before the year 1 have signs, which sort first. */
function latestOf(a: Day, b: Day): Day {
  return a > b ? a : b;
}
