import type { Api } from './api.ts';
import { loadBefore, type Before } from './load-before.ts';
import { loadHistory } from './load-history.ts';
import {
  failureTest,
  sumBy,
  totalOf,
  type DailyRow,
  type PairRow,
  type Row,
} from '../data/counts.ts';
import {
  addDays,
  countDays,
  latestToday,
  rangeDaysMax,
  type Day,
  type Range,
} from '../data/calendar/days.ts';
import { findingsInSteps, type Finding } from '../data/unusual/findings.ts';
import type { History } from '../data/unusual/history.ts';
import type { PresetDays } from '../data/calendar/periods.ts';
import { seriesNames } from '../data/series.ts';
import type { TableRow } from '../data/table-rows.ts';
import { filterValuesMax, rangeOf, statsQuery, type Filters, type View } from '../data/view.ts';

/** The data of a view. */
export interface Snapshot extends Before {
  readonly range: Range;
  /** Daily totals with the filters applied, as in the next member. */
  readonly daily: ReadonlyMap<Day, number>;
  readonly failedDaily: ReadonlyMap<Day, number>;
  /** Daily totals of the chosen types in any state: failures are a share of them. */
  readonly wholeDaily: ReadonlyMap<Day, number>;
  /** Rows of the names with a series of their own, or all. */
  readonly splitRows: readonly { date: Day; name: string; count: number }[];
  readonly pairs: readonly PairRow[];
  /** The pairs of the chosen types in any state. */
  readonly typePairs: readonly PairRow[];
  /** Every counter of the range; undefined if there may be too many to load. */
  readonly rows: readonly TableRow[] | undefined;
  /** The choices of the filters. */
  readonly allTypes: readonly string[];
  readonly allStates: readonly string[];
  /** The counts by which days are judged; undefined if nothing is counted in the range. */
  readonly history: History | undefined;
  readonly findings: readonly Finding[];
  /** If the range is empty: the latest days with counts. */
  readonly elsewhere: Range | undefined;
}

/** The most rows to load; beyond that, the server computes sums. */
export const rowsMax = 40_000;
/** How many years back the page looks for days with counts. */
export const yearsMax = 5;
export const noFilters: Filters = { types: [], states: [] };

/** Requests rows of `/stats`; with `isKept`, conditionally. */
export type Ask = <T>(
  range: Range,
  filters: Filters,
  groupBy?: string,
  isKept?: boolean,
) => Promise<T[]>;

/**
 * The path of the probe: the chosen types in any state, because rates are shares of all their
 * events.
 */
export function probePath({ types, ...view }: View, days: PresetDays): string {
  return statsQuery(rangeOf({ types, ...view }, days), { types, states: [] }, 'date');
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

/** The context that the parts of a load share. */
export interface Loading {
  readonly ask: Ask;
  readonly view: View;
  readonly range: Range;
  readonly today: Day;
  /** Whether a state is a failure, and among the chosen ones. */
  readonly isFailing: (state: string) => boolean;
}

/**
 * Loads the data of a view. If there are few rows, they are loaded once and summed here. If there
 * may be many, the server computes sums, whose number depends on the names in the range, not on its
 * days. `isInUse`: whether other days may have counts. `whole` is the result of the probe that
 * preceded these requests: the next probe shows a change in between.
 * @throws {ApiError}
 */
export async function load(
  api: Api,
  view: View,
  days: PresetDays,
  whole: readonly DailyRow[],
  isInUse: () => Promise<boolean>,
  signal: AbortSignal,
): Promise<Snapshot> {
  const range = rangeOf(view, days);
  const ask: Ask = async <T>(asked: Range, filters: Filters, groupBy?: string, isKept = false) =>
    (await api.get(statsQuery(asked, filters, groupBy), signal, isKept)).value as T[];
  const loading = { ask, view, range, today: days.today, isFailing: failingOf(view) };
  const allPairs = await ask<PairRow>(range, noFilters, 'type,state');
  const isOfType = (row: PairRow) => view.types.length === 0 || view.types.includes(row.type);
  const isOfState = (row: PairRow) => view.states.length === 0 || view.states.includes(row.state);
  const typePairs = allPairs.filter(isOfType);
  const pairs = typePairs.filter(isOfState);
  const { counted, wholeDaily } = await loadCounts(loading, pairs, whole);
  const sums = {
    daily: sumBy(counted.daily, ({ date }) => date),
    failedDaily: sumBy(counted.failed, ({ date }) => date),
  };
  await nextTask(signal);
  const now = { events: sums.daily, failed: sums.failedDaily, whole: wholeDaily ?? sums.daily };
  const [before, history] = await Promise.all([
    loadBefore(loading, now),
    loadHistory(loading, allPairs.filter(isOfType), counted.rows),
  ]);
  await nextTask(signal);
  const findings = history === undefined ? [] : await judge(history, loading, signal);
  return {
    findings,
    ...{ range, ...sums, ...before, rows: counted.rows, pairs: counted.pairs, history },
    wholeDaily: now.whole,
    typePairs: view.states.length === 0 ? counted.pairs : typePairs,
    splitRows: counted.split.map((row) => ({ ...row, name: row[view.split] })),
    allTypes: [...new Set(allPairs.map(({ type }) => type))],
    allStates: [...new Set(allPairs.map(({ state }) => state))].sort(),
    elsewhere: allPairs.length > 0 ? undefined : await latestDays(ask, isInUse),
  };
}

/** A step of judging is short; a task consists of several, up to this time. */
const taskMs = 12;

async function judge(
  history: History,
  { range, today }: Loading,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const steps = findingsInSteps(history, range, today);
  let started = performance.now();
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
    if (performance.now() - started < taskMs) continue;
    await nextTask(signal);
    started = performance.now();
  }
}

/** Ends the task, so that the page responds to input between the steps of a load. */
async function nextTask(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve));
  signal.throwIfAborted();
}

export function failingOf({ failureWords, states }: View): (state: string) => boolean {
  const isFailing = failureTest(failureWords);
  const chosen = new Set(states);
  return (state) => isFailing(state) && (chosen.size === 0 || chosen.has(state));
}

async function loadCounts(
  loading: Loading,
  pairs: readonly PairRow[],
  probed: readonly DailyRow[],
): Promise<{ counted: Counted; wholeDaily: ReadonlyMap<Day, number> | undefined }> {
  const { ask, range, view, isFailing } = loading;
  const isFew = pairs.length * countDays(range) <= rowsMax;
  const counting = isFew
    ? ask<Row>(range, view).then((rows) => sumRows(rows, pairs, isFailing))
    : askSums(loading, pairs, probed);
  const whole =
    view.states.length === 0
      ? undefined
      : ask<DailyRow>(range, { types: view.types, states: [] }, 'date');
  const [counted, wholeRows] = await Promise.all([counting, whole]);
  return { counted, wholeDaily: wholeRows && sumBy(wholeRows, ({ date }) => date) };
}

interface Counted {
  readonly daily: readonly DailyRow[];
  readonly failed: readonly DailyRow[];
  /** Rows of the names with a series of their own, or all rows. */
  readonly split: readonly Row[];
  readonly rows: readonly Row[] | undefined;
  readonly pairs: readonly PairRow[];
}

function sumRows(
  rows: readonly Row[],
  pairs: readonly PairRow[],
  isFailing: (state: string) => boolean,
): Counted {
  const failed = rows.filter(({ state }) => isFailing(state));
  return { daily: rows, failed, split: rows, rows, pairs: pairsOf(rows, pairs) };
}

/** Keeps the order of the server's response a moment before; new names come last. */
function pairsOf(rows: readonly Row[], ordered: readonly PairRow[]): PairRow[] {
  const keyOf = ({ type, state }: PairRow) => `${type}\n${state}`;
  const pairs = new Map(ordered.map((pair) => [keyOf(pair), { ...pair, count: 0 }]));
  for (const row of rows) {
    const key = keyOf(row);
    const pair = pairs.get(key);
    if (pair !== undefined) pair.count += row.count;
    else pairs.set(key, { type: row.type, state: row.state, count: row.count });
  }
  return [...pairs.values()].filter(({ count }) => count > 0);
}

async function askSums(
  { ask, range, view, isFailing }: Loading,
  pairs: readonly PairRow[],
  probed: readonly DailyRow[],
): Promise<Counted> {
  const sums = sumBy(pairs, (row) => row[view.split]);
  const names = seriesNames(sums, view.split === 'state' ? isFailing : () => false);
  const top = [...names.failing, ...names.others];
  const narrowed = view.split === 'type' ? { ...view, types: top } : { ...view, states: top };
  const failing = [...new Set(pairs.map(({ state }) => state))].filter(isFailing);
  const [split, failed, daily] = await Promise.all([
    ask<Row>(range, narrowed, `date,${view.split}`),
    askFailures(ask, range, view, failing),
    view.states.length === 0 ? probed : ask<DailyRow>(range, view, 'date'),
  ]);
  return { daily, failed, split, rows: undefined, pairs };
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

/** The numbers of pairs, of which failures are those in a chosen failing state. */
export function totalsOf(
  pairs: readonly PairRow[],
  { states }: Filters,
  isFailing: (state: string) => boolean,
) {
  const isChosen = ({ state }: PairRow) => states.length === 0 || states.includes(state);
  return {
    whole: totalOf(pairs),
    events: totalOf(pairs.filter(isChosen)),
    failed: totalOf(pairs.filter(({ state }) => isFailing(state))),
  };
}
