import { addDays, countDays, overlapOf, type Day, type Range } from '../calendar/days.ts';
import { expectedOf, type Sample } from './chance.ts';
import { overlaps, type Run, type Span } from './comparer.ts';
import { runDaysMax, type History } from './history.ts';
import { Judgement, type Origin } from './judgement.ts';
import { settling } from './runs.ts';
import { limitOf, seriesOf, type Series, type Subject } from './series.ts';

/** A type that a finding names. */
export interface NamedType {
  readonly name: string;
  /** Events a day, or the share of failures. */
  readonly value: number;
  /** Undefined: the type is new. */
  readonly usual: number | undefined;
}

/** Days in a row on which a number was unusual in one direction. */
export interface Finding extends Subject {
  readonly range: Range;
  /** Whether it lasts: the latest complete day is one of its days. */
  readonly isOngoing: boolean;
  /** Whether its end is not known: the days after it are not judged. */
  readonly isOpen: boolean;
  /** Whether it is about today, which is not complete. */
  readonly isSoFar: boolean;
  readonly isAbove: boolean;
  /** Events a day, or the share of failures: of the one type, of the types, or of all. */
  readonly value: number;
  readonly usual: number;
  /** Whether the numbers are those of the types together, because all types together are usual. */
  readonly isOfTypes: boolean;
  /** The types that it comes from, if they are several or new; the largest difference first. */
  readonly types: readonly NamedType[];
  /** Whether the other types changed, too. */
  readonly isShared: boolean;
}

interface Found extends Origin {
  readonly subject: Subject;
  readonly finding: Finding;
}

/** A number with unusual days. */
interface Lead {
  readonly series: Series;
  readonly run: Run;
  readonly isSoFar: boolean;
}

/**
 * Finds what is unusual in the days of a range, the most important first. The most surprising number
 * comes first, and later ones only add what it does not explain. Interrupted after each number, and
 * before each that has unusual days.
 */
export function* findingsInSteps(
  history: History,
  range: Range,
  today: Day,
): Generator<undefined, Finding[]> {
  const { from, to } = history.window;
  const yesterday = addDays(today, -1);
  const last = countDays({ from, to: to < yesterday ? to : yesterday }) - 1;
  const span = { first: history.first, last };
  const series: Series[] = [];
  for (const one of seriesOf(history, span)) {
    series.push(one);
    yield;
  }
  const judgement = new Judgement(history, span, series);
  const over = judgement.series.flatMap((series) =>
    series.runs.map((run) => ({ series, run, isSoFar: false })),
  );
  const soFar = range.from <= today && range.to >= today ? soFarOf(judgement, last + 1) : [];
  const found: Found[] = [];
  for (const lead of [...sorted(over), ...sorted(soFar)]) {
    yield;
    if (isExplained(judgement, lead, found)) continue;
    const known = found.filter((one) => isNear(lead, one) && isAlike(lead.series, one.subject));
    const names = known.flatMap((one) => one.names);
    const one = foundOf(judgement, lead, names, today);
    if (!found.some((other) => isSame(one.finding, other.finding))) found.push(one);
  }
  return found
    .filter((one) => isShown(one, range, today))
    .map(({ finding }) => finding)
    .sort(byWeight);
}

/** Whether two findings are about the same change, of which one only names more or fewer types. */
function isSame(a: Finding, b: Finding): boolean {
  return (
    a.measure === b.measure &&
    a.state === b.state &&
    a.type === b.type &&
    a.isAbove === b.isAbove &&
    a.range.from === b.range.from
  );
}

/**
 * Whether a finding matters to the days of a range: a change that has become the usual matters only
 * if it began in them or within the eight weeks before their end; a lasting change also matters
 * today.
 */
function isShown({ run, finding }: Found, range: Range, today: Day): boolean {
  const { from } = finding.range;
  const to = finding.isOngoing ? today : finding.range.to;
  if (overlapOf(range, { from, to }) === undefined) return false;
  return !run.isUsual || range.from <= from || range.to < addDays(from, runDaysMax);
}

/** The most surprising first; events of one state after those of all states and of types. */
function sorted(leads: readonly Lead[]): Lead[] {
  const isOfState = ({ series: { measure, state } }: Lead) =>
    Number(measure === 'events' && state !== undefined);
  return leads.toSorted((a, b) => isOfState(a) - isOfState(b) || b.run.score - a.run.score);
}

/** Today so far: failure rates, and counts that are already above those of a whole day. */
function soFarOf(judgement: Judgement, day: number): Lead[] {
  const span = { first: day, last: day };
  return judgement.series.flatMap((series) => {
    const sample = series.comparer.sampleOf(span);
    const score = series.comparer.scoreOf(span);
    const limit = limitOf(series, judgement.series.length);
    if (sample === undefined || score < limit.score) return [];
    const usual = expectedOf(sample);
    if (sample.count - usual < limit.share * usual) return [];
    return [{ series, run: { ...span, sign: 1, score, isUsual: false }, isSoFar: true }];
  });
}

function foundOf(judgement: Judgement, lead: Lead, known: readonly string[], today: Day): Found {
  const { isSoFar } = lead;
  const series = judgement.narrowed(lead.series, lead.run);
  const { window, types } = judgement.history;
  const origin = judgement.originOf(series, lead.run, isSoFar, known);
  const { run, isShared } = origin;
  const { measure, state } = series;
  const of = (type: string | undefined): Subject => ({ measure, state, type });
  const named = origin.names.flatMap((name) => namedOf(judgement, of(name), run));
  const [only, ...more] = named;
  const single = !isShared && more.length === 0 && only?.usual !== undefined ? only : undefined;
  const [onlyType] = types.size === 1 ? types.keys() : [];
  const isOfTypes = more.length > 0 && !isShared && !judgement.isOfAll(series, run);
  const whole = isOfTypes
    ? togetherOf(judgement, origin.names.map(of), run)
    : namedOf(judgement, of(undefined), run)[0];
  const { value = 0, usual = 0 } = single ?? whole ?? {};
  const isOngoing = !isSoFar && addDays(window.from, run.last + 1) === today;
  const finding = {
    ...{ measure, state, value, usual, isShared, isOfTypes, isSoFar },
    type: single?.name ?? (measure === 'events' && state !== undefined ? undefined : onlyType),
    range: { from: addDays(window.from, run.first), to: addDays(window.from, run.last) },
    isOngoing,
    isOpen: !isSoFar && !isOngoing && run.last === judgement.span.last,
    isAbove: run.sign > 0,
    types: single === undefined ? named : [],
  };
  return { ...origin, subject: series, finding };
}

/** The number of a type, or of all, on the days of a span. */
function namedOf(judgement: Judgement, subject: Subject, span: Span): NamedType[] {
  const known = judgement.sampleOf(subject, span);
  if (known === undefined) return [];
  const { sample, isNew } = known;
  const per = subject.measure === 'events' ? sample.days : sample.size;
  const usual = isNew ? undefined : expectedOf(sample) / per;
  return [{ name: subject.type ?? '', value: sample.count / per, usual }];
}

/** The number of some types together. */
function togetherOf(judgement: Judgement, subjects: readonly Subject[], span: Span) {
  const samples = subjects.flatMap((subject) => {
    const known = judgement.sampleOf(subject, span);
    return known === undefined
      ? []
      : [known.isNew ? { ...known.sample, countBefore: 0 } : known.sample];
  });
  const isOfEvents = subjects[0]?.measure === 'events';
  const size = samples.reduce((sum, sample) => sum + sample.size, 0);
  const sum = (valueOf: (sample: Sample) => number) =>
    samples.reduce((all, sample) => all + valueOf(sample) / (isOfEvents ? sample.days : size), 0);
  return { value: sum(({ count }) => count), usual: sum(expectedOf) };
}

/** Whether the known findings leave nothing unusual of a number on these days. */
function isExplained(judgement: Judgement, lead: Lead, found: readonly Found[]): boolean {
  const { series, run } = lead;
  const { share } = limitOf(series, 1);
  const near = found.filter((one) => isNear(lead, one));
  const parts = near.flatMap((one) => partsOf(series, one));
  if (parts.some(({ type, state }) => type === series.type && state === series.state)) return true;
  const least = lead.isSoFar ? limitOf(series, judgement.series.length).score : judgement.score;
  const isLeft = (rest: number) => run.sign * rest >= least;
  if (parts.length > 0 && !isLeft(judgement.restOf(series, parts, run))) return true;
  return near.some((one) => {
    if (!isPartOf(series, one)) return false;
    const [whole] = namedOf(judgement, { ...one.subject, type: undefined }, run);
    const [own] = namedOf(judgement, series, run);
    // Days on which the usual number of all events is 0, like weekends, prove nothing about a type.
    if (!own?.usual || !whole?.usual) return own?.usual === undefined || !whole?.usual;
    const factor = whole.value / whole.usual;
    const isUsual = Math.abs(own.value - own.usual * factor) < share * own.usual * factor;
    return isUsual || !isLeft(series.comparer.scoreOf(run, factor));
  });
}

function isNear({ series, run, isSoFar }: Lead, { run: known, subject, finding }: Found): boolean {
  if (subject.measure !== series.measure || known.sign !== run.sign) return false;
  return overlaps(settling(known), run) || (isSoFar && finding.isOngoing && !known.isUsual);
}

/** Whether one state is the other, or a part of it. */
function isAlike(a: Subject, b: Subject): boolean {
  return a.state === undefined || b.state === undefined || a.state === b.state;
}

/** The parts of a number that a finding is about. */
function partsOf(one: Subject, { names, isShared, subject }: Found): Subject[] {
  const { measure, type, state } = one;
  if (!isAlike(one, subject)) return [];
  const own = state ?? subject.state;
  // Events by type and state are not known.
  if (measure === 'events' && own !== undefined) {
    return state === undefined && type !== undefined ? [] : [{ measure, type, state: own }];
  }
  const isOfAll = isShared || names.length === 0;
  if (type === undefined) {
    const types = isOfAll ? [undefined] : names;
    return types.map((name) => ({ measure, type: name, state: own }));
  }
  // A part of a change of all types may still exceed its share.
  const isPart = isOfAll && own === state;
  return (isOfAll || names.includes(type)) && !isPart ? [{ measure, type, state: own }] : [];
}

/** Whether a finding of all types is about the same state, so that a type changes with it. */
function isPartOf({ type, state }: Subject, { names, isShared, subject }: Found): boolean {
  const isOfAll = isShared || names.length === 0;
  return type !== undefined && isOfAll && (subject.state === undefined || subject.state === state);
}

export const isMoreFailures = ({ measure, isAbove }: Finding) => measure === 'failures' && isAbove;
/** Fewer failures are no alarm. */
const isGood = ({ measure, isAbove }: Finding) => measure === 'failures' && !isAbove;
const isNow = ({ isOngoing, isSoFar }: Finding) => isOngoing || isSoFar;

/** Lasting findings come first, then more failures, then the latest; fewer failures come last. */
function byWeight(a: Finding, b: Finding): number {
  return (
    Number(isGood(a)) - Number(isGood(b)) ||
    Number(isNow(b)) - Number(isNow(a)) ||
    Number(isMoreFailures(b)) - Number(isMoreFailures(a)) ||
    (a.range.to === b.range.to ? 0 : a.range.to < b.range.to ? 1 : -1)
  );
}
