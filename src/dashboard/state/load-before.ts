import {
  compare,
  comparedRanges,
  dataStart,
  restDaysMax,
  sumWithin,
  type Comparison,
  type DataStart,
} from '../data/comparison.ts';
import { sumBy, type DailyRow, type PairRow } from '../data/counts.ts';
import { addDays, firstDay, rangeDaysMax, type Day, type Range } from '../data/calendar/days.ts';
import { noFilters, totalsOf, type Ask, type Loading } from './load.ts';

/** The days before the range. */
export interface Before {
  readonly comparison: Comparison;
  /** The counts of the days that the range is compared with, with the filters applied. */
  readonly earlierDaily: ReadonlyMap<Day, number> | undefined;
  /** The counts of the chosen types; undefined if not all earlier days are within the data. */
  readonly earlierPairs: readonly PairRow[] | undefined;
}

interface NowDaily {
  readonly events: ReadonlyMap<Day, number>;
  readonly failed: ReadonlyMap<Day, number>;
  readonly whole: ReadonlyMap<Day, number>;
}

export async function loadBefore(loading: Loading, now: NowDaily): Promise<Before> {
  const { ask, view, range, today, isFailing } = loading;
  const preset = 'preset' in view.range ? view.range.preset : undefined;
  const compared = comparedRanges(range, today, preset);
  if (compared === undefined) return without(range, today);
  const types = { types: view.types, states: [] };
  const [start, pairs, daily] = await Promise.all([
    startOfData(ask, compared.before.from, range),
    ask<PairRow>(compared.before, types, 'type,state', true),
    ask<DailyRow>(compared.before, view, 'date', true),
  ]);
  const totals = {
    events: sumWithin(now.events, compared.now),
    failed: sumWithin(now.failed, compared.now),
    whole: sumWithin(now.whole, compared.now),
  };
  const comparison = compare(compared, totals, totalsOf(pairs, view, isFailing), start);
  if (comparison.kind !== 'known') {
    return { comparison, earlierDaily: undefined, earlierPairs: undefined };
  }
  return { comparison, earlierDaily: sumBy(daily, ({ date }) => date), earlierPairs: pairs };
}

function without(range: Range, today: Day): Before {
  const reason = range.from >= today ? 'incomplete' : 'no earlier days';
  return {
    comparison: { kind: 'none', reason },
    ...{ earlierDaily: undefined, earlierPairs: undefined },
  };
}

/**
 * Where the data begin, according to the days from `earliest` to the range and the longest gap
 * before them.
 */
async function startOfData(ask: Ask, earliest: Day, range: Range): Promise<DataStart | undefined> {
  const from = latestOf(addDays(earliest, -restDaysMax), firstDay);
  const rows = await Promise.all([
    askDaily(ask, { from, to: addDays(range.from, -1) }),
    // The same request as the probe of a page without filters.
    askDaily(ask, range),
  ]);
  const start = dataStart(rows.flat());
  if (start === undefined || start.firstDay <= earliest || start.hasOlder) return start;
  const to = addDays(from, -1);
  if (to < firstDay) return start;
  const older = await askDaily(ask, {
    from: latestOf(addDays(to, 1 - rangeDaysMax), firstDay),
    to,
  });
  return { ...start, hasOlder: older.length > 0 };
}

/** The daily counts of all names, in as many requests as the limit of days requires. */
async function askDaily(ask: Ask, { from, to }: Range): Promise<DailyRow[]> {
  const parts: Range[] = [];
  for (let end = to; end >= from; end = addDays(end, -rangeDaysMax)) {
    parts.unshift({ from: latestOf(addDays(end, 1 - rangeDaysMax), from), to: end });
  }
  const rows = await Promise.all(parts.map((part) => ask<DailyRow>(part, noFilters, 'date', true)));
  return rows.flat();
}

/** The later of two days. Days before the year 1 have signs, which sort first. */
function latestOf(a: Day, b: Day): Day {
  return a > b ? a : b;
}
