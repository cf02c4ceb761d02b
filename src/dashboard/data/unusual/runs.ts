import { expectedOf } from './chance.ts';
import { Comparer, type Limit, type Numbers, type Run, type Span } from './comparer.ts';
import { runDaysMax } from './history.ts';

/** The unusual days of one number. */
export interface Judged extends Numbers {
  /** The most surprising first. */
  readonly runs: readonly Run[];
  /** Compares with days that are not unusual. */
  readonly comparer: Comparer;
  /** The days that are unusual. */
  readonly left: ReadonlySet<number>;
}

/** No more are looked for. */
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
  let comparer = new Comparer(numbers, since, left);
  for (let round = 0; round < runsMax; round++) {
    const best = trimmed(comparer.best(span, limit, taken), comparer);
    if (best === undefined) break;
    const isLasting = lasts(best, span.last, comparer);
    const isNewUsual = isLasting && span.last - best.first >= runDaysMax;
    const run = isLasting && !isNewUsual ? { ...best, last: span.last } : best;
    for (let day = run.first; day <= run.last; day++) {
      taken.add(day);
      if (!isNewUsual) left.add(day);
    }
    if (isNewUsual) continue;
    runs.push(run);
    comparer = new Comparer(numbers, since, left);
  }
  return { ...numbers, runs, comparer, left };
}

/** Days at the ends of a run that add less to its score may be chance. */
const endScoreMin = 2;
const endDaysMax = 7;

/** Leaves out the days at the ends that may as well be usual. */
function trimmed(run: Run | undefined, comparer: Comparer): Run | undefined {
  if (run === undefined) return run;
  let best: Run | undefined;
  for (let days = 1; days <= endDaysMax && run.first + days <= run.last; days++) {
    for (const shorter of [
      { ...run, first: run.first + days },
      { ...run, last: run.last - days },
    ]) {
      const score = run.sign * comparer.scoreOf(shorter);
      if (score > (best?.score ?? run.score - endScoreMin)) best = { ...shorter, score };
    }
  }
  return best === undefined ? run : trimmed(best, comparer);
}

/** After a weekend it is early to say that a run has ended; later days must not point to it at all. */
const tailDaysMax = 3;
/** Odds of e⁴, about 50 to 1. */
const endingMin = 4;

/** Whether the days after a run do not tell that it has ended. */
function lasts(run: Run, last: number, comparer: Comparer): boolean {
  const [own, all] = [comparer.sampleOf(run), comparer.sampleOf({ first: run.first, last })];
  if (run.last === last || own === undefined || all === undefined) return run.last === last;
  const usual = expectedOf(all) - expectedOf(own);
  const ratio = own.count / Math.max(expectedOf(own), 0.5);
  const since = all.count - own.count;
  // A likelihood ratio again: of the usual numbers, and of those of the run.
  const ending = usual * (ratio - 1) - since * Math.log(Math.max(ratio, 0.01));
  return ending < (last - run.last > tailDaysMax ? 0 : endingMin);
}
