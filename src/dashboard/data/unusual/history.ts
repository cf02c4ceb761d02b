import { addDays, countDays, type Day, type Range } from '../calendar/days.ts';
import type { Row } from '../counts.ts';

/** Events and failures of each day of a window, by index from its first day. */
export interface Part {
  readonly events: readonly number[];
  readonly failed: readonly number[];
}

/** The counts by which days are judged. */
export interface History {
  /** The days of the window; its first weeks serve only for comparison. */
  readonly window: Range;
  /** The index of the first day of the data; earlier days are unknown. */
  readonly first: number;
  readonly all: Part;
  readonly types: ReadonlyMap<string, Part>;
  readonly states: ReadonlyMap<string, Part>;
  /** The states that are failures. */
  readonly failing: ReadonlySet<string>;
  /** The failures by type, then by failing state. */
  readonly failures: ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>;
}

export const week = 7;
/** How many weeks before a day it is compared with. */
export const weeks = 8;
/** How far back they may be, if weeks in between were unusual. */
export const weeksBackMax = 16;
/** After eight weeks in a row, new numbers are the usual ones. */
export const runDaysMax = week * weeks;
/** How many days after the range are judged, too, so that a finding can include its end. */
const daysAfter = 28;

/**
 * The days to judge for a range, and the weeks before them. A finding includes its first and last
 * day, so days around a range are judged, too.
 */
export function windowOf(range: Range, today: Day): Range {
  const eightWeeks = addDays(range.to, 1 - runDaysMax);
  const later = addDays(range.to, daysAfter);
  const to = later < today ? later : today;
  return {
    from: addDays(range.from < eightWeeks ? range.from : eightWeeks, -week * weeksBackMax),
    to: to > range.to ? to : range.to,
  };
}

/** The least number of the same weekdays with data that a day is compared with. */
export const weeksMin = 4;

/** The first day that is judged. */
export function judgedFrom({ window, first }: History): Day {
  return addDays(window.from, first + week * weeksMin);
}

interface DraftPart {
  readonly events: number[];
  readonly failed: number[];
}

/**
 * Sums rows to a history. Rows outside the window are ignored; an empty name stands for several.
 * @param daily all counts by day, if the rows are only those of some types
 */
export function historyOf(
  window: Range,
  rows: Iterable<Row>,
  isFailing: (state: string) => boolean,
  daily?: Iterable<Pick<Row, 'date' | 'count'>>,
): History {
  const days = countDays(window);
  const at = new Map<Day, number>();
  for (let index = 0; index < days; index++) at.set(addDays(window.from, index), index);
  const empty = (): number[] => new Array<number>(days).fill(0);
  const part = (): DraftPart => ({ events: empty(), failed: empty() });
  const all = part();
  const [types, states] = [new Map<string, DraftPart>(), new Map<string, DraftPart>()];
  const failures = new Map<string, Map<string, number[]>>();
  for (const { date, type, state, count } of rows) {
    const index = at.get(date);
    if (index === undefined) continue;
    const own = [all];
    if (type !== '') own.push(entry(types, type, part));
    if (state !== '') own.push(entry(states, state, part));
    for (const each of own) {
      each.events[index] = (each.events[index] ?? 0) + count;
      if (isFailing(state)) each.failed[index] = (each.failed[index] ?? 0) + count;
    }
    if (!isFailing(state)) continue;
    const sums = entry(
      entry(failures, type, () => new Map<string, number[]>()),
      state,
      empty,
    );
    sums[index] = (sums[index] ?? 0) + count;
  }
  const failing = new Set([...states.keys()].filter(isFailing));
  let counted: readonly number[] = all.events;
  if (daily !== undefined) {
    const sums = empty();
    for (const { date, count } of daily) sums[at.get(date) ?? days] = count;
    counted = sums;
  }
  return { window, first: startOf(counted), all, types, states, failing, failures };
}

const restDaysMax = 14;

/**
 * The first day with counts, except those from wrong clocks or a trial, which are followed by a gap
 * within four weeks. A later gap is an outage.
 */
function startOf(counts: readonly number[]): number {
  let [first, last] = [-1, -1];
  for (let day = 0; day < counts.length; day++) {
    if ((counts[day] ?? 0) === 0) continue;
    const isRest = first === -1 || day - last > restDaysMax;
    if (isRest && (first === -1 || last - first < week * weeksMin)) first = day;
    last = day;
  }
  return first === -1 ? counts.length : first;
}

function entry<T>(map: Map<string, T>, key: string, create: () => T): T {
  const known = map.get(key);
  if (known !== undefined) return known;
  const created = create();
  map.set(key, created);
  return created;
}
