import { addDays, countDays, overlapOf, type Day, type Range } from '../calendar/days.ts';
import { weeks, type History } from './history.ts';
import {
  boundsOfName,
  boundsOfRate,
  chanceOf,
  judgeCount,
  judgeRate,
  type Verdict,
} from './unusual.ts';

export type Measure = 'events' | 'failures';

/** Days in a row on which a number was unusual in one direction. */
export interface Finding {
  readonly measure: Measure;
  /** The one type that it is about; undefined: all. */
  readonly type: string | undefined;
  /** The one state that it is about; undefined: all, or all failures. */
  readonly state: string | undefined;
  readonly range: Range;
  /** Whether it lasts: no later day that is over was usual. */
  readonly isOngoing: boolean;
  readonly isAbove: boolean;
  /** Events a day, or the share of failures. */
  readonly value: number;
  readonly usual: number;
  /** Of failures: the types with an unusual rate, the largest first. */
  readonly types: readonly {
    readonly name: string;
    readonly value: number;
    readonly usual: number;
  }[];
}

/** What is judged: a count, or its share of a whole. */
interface Candidate extends Pick<Finding, 'type' | 'state'> {
  readonly counts: readonly number[];
  readonly whole: readonly number[] | undefined;
}

/** A run of days by index, both ends included. */
interface Run {
  readonly first: number;
  readonly last: number;
  readonly sign: number;
  readonly isOngoing: boolean;
}

/**
 * Finds the runs of unusual days among those of the window that are over and reach into the range; what
 * lasts comes first.
 */
export function findingsOf(history: History, range: Range, today: Day): Finding[] {
  const yesterday = addDays(today, -1);
  const { from, to } = history.window;
  const last = countDays({ from, to: to < yesterday ? to : yesterday }) - 1;
  const found: Finding[] = [];
  // An earlier candidate says more: later ones add only what it does not explain.
  for (const candidates of candidatesOf(history)) {
    const more = candidates.flatMap((candidate) =>
      runsOf(judgeOf(history, candidate), 7 * weeks, last).map((run) =>
        findingOf(history, candidate, run),
      ),
    );
    found.push(...more.filter((one) => !found.some((known) => explains(known, one))));
  }
  const shown = found.filter(({ range: own, isOngoing }) => {
    return overlapOf(range, isOngoing ? { from: own.from, to } : own) !== undefined;
  });
  return shown.sort(byWeight);
}

/** Failing states, all failures, all events; then the failures and the events of single names. */
function candidatesOf({ all, types, states, failing }: History): Candidate[][] {
  const ofAll = { type: undefined, state: undefined };
  const listed = [...states].map(([state, { events }]) => ({ ...ofAll, state, counts: events }));
  const isFailing = ({ state }: { state: string }) => failing.has(state);
  const ofTypes = [...types].map(([type, part]) => ({ ...ofAll, type, part }));
  return [
    listed.filter(isFailing).map((each) => ({ ...each, whole: all.events })),
    [{ ...ofAll, counts: all.failed, whole: all.events }],
    [{ ...ofAll, counts: all.events, whole: undefined }],
    ofTypes.map(({ part, ...each }) => ({ ...each, counts: part.failed, whole: part.events })),
    [
      ...ofTypes.map(({ part, ...each }) => ({ ...each, counts: part.events, whole: undefined })),
      ...listed.filter((each) => !isFailing(each)).map((each) => ({ ...each, whole: undefined })),
    ],
  ];
}

function judgeOf({ first }: History, { type, state, counts, whole }: Candidate) {
  const isName = type !== undefined || (state !== undefined && whole === undefined);
  const bounds = isName ? boundsOfName : undefined;
  return (day: number): Verdict =>
    whole === undefined
      ? judgeCount(counts, day, first, bounds)
      : judgeRate(counts, whole, day, first, bounds);
}

/** More days in a row without a clear verdict end a run: a long weekend does not. */
const gapDaysMax = 3;

/** Days that are raised, unclear or without a verdict do not end a run, and do not begin one. */
function runsOf(judge: (day: number) => Verdict, from: number, to: number): Run[] {
  const runs: Run[] = [];
  let open: { first: number; last: number; sign: number } | undefined;
  const close = (isOngoing: boolean) => {
    if (open !== undefined) runs.push({ ...open, isOngoing });
    open = undefined;
  };
  for (let day = from; day <= to; day++) {
    const { kind, sign } = judge(day);
    const goesOn = sign === open?.sign && (kind === 'unusual' || kind === 'raised');
    if (open !== undefined && goesOn) open.last = day;
    else if (kind === 'unusual') {
      close(false);
      open = { first: day, last: day, sign };
    } else if (kind === 'usual' || kind === 'raised') close(false);
    else if (open !== undefined && day - open.last > gapDaysMax) close(false);
  }
  close(true);
  return runs;
}

function findingOf(history: History, { type, state, counts, whole }: Candidate, run: Run): Finding {
  const { from } = history.window;
  const { value, usual } = pooled(history, run, counts, whole);
  const isOfTypes = whole !== undefined && type === undefined;
  return {
    ...{ measure: whole === undefined ? 'events' : 'failures', type, state, value, usual },
    range: { from: addDays(from, run.first), to: addDays(from, run.last) },
    isOngoing: run.isOngoing,
    isAbove: run.sign > 0,
    types: isOfTypes ? typesOf(history, run, state) : [],
  };
}

const typesMax = 4;

/** The types whose rate is unusual over the run: those that add most to the difference. */
function typesOf(history: History, run: Run, state: string | undefined): Finding['types'] {
  const found = [...history.types].flatMap(([name, { events, failed }]) => {
    const counts = state === undefined ? failed : history.failures.get(name)?.get(state);
    if (counts === undefined) return [];
    const { value, usual, expected, difference } = pooled(history, run, counts, events);
    const isUnusual =
      Math.sign(difference) === run.sign &&
      Math.abs(value - usual) >= boundsOfRate.share * usual &&
      Math.abs(difference) > chanceOf(expected, boundsOfRate.chance);
    return isUnusual ? [{ name, value, usual, size: Math.abs(difference) }] : [];
  });
  return found
    .sort((a, b) => b.size - a.size)
    .slice(0, typesMax)
    .sort((a, b) => run.sign * (b.value - a.value))
    .map(({ name, value, usual }) => ({ name, value, usual }));
}

/** The numbers of all days of a run together: a share of the whole, or a count a day. */
function pooled(
  { first }: History,
  run: Run,
  counts: readonly number[],
  whole: readonly number[] | undefined,
) {
  let [number, expected, size] = [0, 0, 0];
  for (let day = run.first; day <= run.last; day++) {
    const of = whole === undefined ? 1 : (whole[day] ?? 0);
    const { median } =
      whole === undefined ? judgeCount(counts, day, first) : judgeRate(counts, whole, day, first);
    number += counts[day] ?? 0;
    expected += median * of;
    size += of;
  }
  const share = (part: number) => (size === 0 ? 0 : part / size);
  return { value: share(number), usual: share(expected), expected, difference: number - expected };
}

/** Whether a finding already reports what another one does, about more or about the same days. */
function explains(known: Finding, one: Finding): boolean {
  return (
    known.measure === one.measure &&
    known.isAbove === one.isAbove &&
    known.range.from <= one.range.to &&
    one.range.from <= known.range.to
  );
}

/** What lasts comes first, then more failures, then the latest. */
function byWeight(a: Finding, b: Finding): number {
  const isBad = ({ measure, isAbove }: Finding) => measure === 'failures' && isAbove;
  return (
    Number(b.isOngoing) - Number(a.isOngoing) ||
    Number(isBad(b)) - Number(isBad(a)) ||
    (a.range.to === b.range.to ? 0 : a.range.to < b.range.to ? 1 : -1)
  );
}
