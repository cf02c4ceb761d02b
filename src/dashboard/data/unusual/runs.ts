import { expectedOf, usualOdds } from './chance.ts';
import { Comparer, type Limit, type Numbers, type Run, type Span } from './comparer.ts';
import { runDaysMax, week, weeksMin } from './history.ts';

/** The unusual days of one number. */
export interface Judged extends Numbers {
  /** The most surprising first. */
  readonly runs: readonly Run[];
  /** Compares with days that are not unusual. */
  readonly comparer: Comparer;
  /** The days that are unusual. */
  readonly left: ReadonlySet<number>;
  /** The first days of numbers that have become the usual ones. */
  readonly breaks: readonly number[];
}

/** The days of a run; of one that has become the usual, those before there are new days to compare with. */
export function settling({ first, last, isUsual }: Run): Span {
  return { first, last: isUsual ? first + week * weeksMin - 1 : last };
}

/** The maximum number of runs to find. */
const runsMax = 6;

/**
 * Finds the unusual runs of a number. Later days are not compared with the days of a run; but after eight
 * weeks its numbers are the usual ones.
 * @param span the days to judge
 * @param since the index of the first day of the data
 */
export function judgeNumbers(numbers: Numbers, span: Span, since: number, limit: Limit): Judged {
  const runs: Run[] = [];
  const [taken, left] = [new Set<number>(), new Set<number>()];
  const breaks: number[] = [];
  let comparer = new Comparer(numbers, since, left);
  for (let round = 0; round < runsMax; round++) {
    const best = comparer.best(span, limit, taken);
    if (best === undefined) break;
    const isLasting = lasts(best, span.last, comparer);
    const isUsual = isLasting && span.last - best.first >= runDaysMax;
    const run = isLasting ? { ...best, last: span.last, isUsual } : best;
    if (isUsual) breaks.push(run.first);
    const { last } = settling(run);
    for (let day = run.first; day <= last; day++) {
      taken.add(day);
      if (!isUsual) left.add(day);
    }
    const next = runs.findIndex((other) => continues(run, other, comparer));
    const other = runs[next];
    if (other === undefined) runs.push(run);
    else
      runs[next] = {
        ...other,
        first: Math.min(run.first, other.first),
        last: Math.max(run.last, other.last),
      };
    comparer = new Comparer(numbers, since, left, breaks);
  }
  return { ...numbers, runs, comparer, left, breaks };
}

/** How far the changes of two runs may differ, as a share, for them to be one. */
const sameShare = 0.5;

/** Whether two runs follow each other with the same change. */
function continues(one: Run, other: Run, comparer: Comparer): boolean {
  const isNext = one.last + 1 === other.first || other.last + 1 === one.first;
  if (!isNext || one.sign !== other.sign || one.isUsual !== other.isUsual) return false;
  const [ratio = 0, otherRatio = 0] = [one, other].map((run) => {
    const sample = comparer.sampleOf(run);
    return sample && sample.count / expectedOf(sample);
  });
  return Math.abs(ratio - otherRatio) <= sameShare * Math.max(ratio, otherRatio);
}

/**
 * Right after a weekend, it is too early to conclude that a run has ended; later days must not
 * indicate it at all.
 */
const tailDaysMax = 3;
/** Odds of e⁴, about 50 to 1. */
const endingMin = 4;

/** Whether the days after a run do not show that it has ended. */
function lasts(run: Run, last: number, comparer: Comparer): boolean {
  const [own, all] = [comparer.sampleOf(run), comparer.sampleOf({ first: run.first, last })];
  if (run.last === last || own === undefined || all === undefined) return run.last === last;
  const usual = expectedOf(all) - expectedOf(own);
  const ratio = own.count / Math.max(expectedOf(own), 0.5);
  const later = { ...all, count: all.count - own.count, countBefore: usual, sizeBefore: all.size };
  const ending = usualOdds(later, ratio);
  return ending < (last - run.last > tailDaysMax ? 0 : endingMin);
}
