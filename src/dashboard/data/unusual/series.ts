import type { Limit, Numbers, Span } from './comparer.ts';
import type { History } from './history.ts';
import { judgeNumbers, type Judged } from './runs.ts';

export type Measure = 'events' | 'failures';

/** The subject of a number. */
export interface Subject {
  readonly measure: Measure;
  /** The one type that it is about; undefined: all. */
  readonly type: string | undefined;
  /** The one state that it is about; undefined: all, or all failures. */
  readonly state: string | undefined;
}

export type Series = Subject & Judged;

/**
 * At most one in five pages on which nothing is unusual reports a finding. The bound is far above
 * the real rate: in simulations, it is one in a hundred.
 */
const pagesPerError = 5;
/** The least differences, as shares of the usual. */
const shareOfCount = 0.25;
const shareOfName = 0.5;

/** How surprising a difference must be to be found among a number of them. */
export function scoreOf(looks: number): number {
  return Math.log(pagesPerError * Math.max(1, looks));
}

export function limitOf({ measure, type, state }: Subject, looks: number): Limit {
  const isAll = measure === 'events' && type === undefined && state === undefined;
  return { score: scoreOf(looks), share: isAll ? shareOfCount : shareOfName };
}

/**
 * All numbers that are judged, with their unusual days; yields one at a time, because judging takes
 * a while.
 */
export function* seriesOf(history: History, span: Span): Generator<Series> {
  const known = subjectsOf(history)
    .map((subject) => ({ ...subject, ...numbersOf(history, subject) }))
    .filter(({ counts }) => counts.some((count) => count > 0));
  const looks = known.length * (span.last - span.first + 1);
  for (const each of known) {
    yield { ...each, ...judgeNumbers(each, span, history.first, limitOf(each, looks)) };
  }
}

function subjectsOf({ types, states, failing }: History): Subject[] {
  // The only type, or the only failing state, is all of them.
  const ofTypes = [undefined, ...(types.size > 1 ? types.keys() : [])];
  const ofStates = failing.size > 1 ? [undefined, ...failing] : [...failing];
  const others = [...states.keys()].filter((state) => !failing.has(state));
  return [
    ...ofTypes.flatMap((type) => ofStates.map((state) => of('failures', type, state))),
    ...ofTypes.map((type) => of('events', type, undefined)),
    ...others.map((state) => of('events', undefined, state)),
  ];
}

const of = (measure: Measure, type?: string, state?: string): Subject => ({ measure, type, state });

export function numbersOf(history: History, { measure, type, state }: Subject): Numbers {
  const { all, types, states, failures } = history;
  const part = (type === undefined ? all : types.get(type)) ?? all;
  if (measure === 'events') {
    return {
      counts: state === undefined ? part.events : countsOf(states.get(state)?.events, all.events),
      whole: undefined,
    };
  }
  const counts =
    state === undefined
      ? part.failed
      : type === undefined
        ? states.get(state)?.events
        : failures.get(type)?.get(state);
  return { counts: countsOf(counts, all.events), whole: part.events };
}

function countsOf(counts: readonly number[] | undefined, alike: readonly number[]) {
  return counts ?? alike.map(() => 0);
}

export function sumOfNumbers(parts: readonly Numbers[]): Numbers {
  const [first] = parts;
  const sum = (pick: (part: Numbers) => readonly number[] | undefined) =>
    first?.counts.map((_, day) => parts.reduce((all, part) => all + (pick(part)?.[day] ?? 0), 0));
  const whole = first?.whole === undefined ? undefined : sum((part) => part.whole);
  return { counts: sum((part) => part.counts) ?? [], whole };
}

/** A number without parts of it. */
export function without(history: History, series: Series, parts: readonly Subject[]): Numbers {
  const [counts, whole] = [[...series.counts], series.whole && [...series.whole]];
  for (const part of parts) {
    const own = numbersOf(history, part);
    own.counts.forEach((count, day) => (counts[day] = Math.max(0, (counts[day] ?? 0) - count)));
    // These events are still the whole of which the other failures are a share.
    if (whole === undefined || part.type === series.type || part.state !== series.state) continue;
    own.whole?.forEach((size, day) => (whole[day] = (whole[day] ?? 0) - size));
  }
  return { counts, whole };
}
