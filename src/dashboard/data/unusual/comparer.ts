import { expectedOf, surpriseOf, usualOdds, type Sample } from './chance.ts';
import { runDaysMax, week, weeks, weeksBackMax, weeksMin } from './history.ts';

/** One number for each day: a count, or its share of a whole. */
export interface Numbers {
  readonly counts: readonly number[];
  /** Undefined: the counts themselves are judged. */
  readonly whole: readonly number[] | undefined;
}

/** Days in a row by index, both ends included. */
export interface Span {
  readonly first: number;
  readonly last: number;
}

export function overlaps(a: Span, b: Span): boolean {
  return a.first <= b.last && b.first <= a.last;
}

/** Unusual days in a row. */
export interface Run extends Span {
  /** 1: above the usual; -1: below. */
  readonly sign: number;
  /** How surprising the run is, divided by the scatter. */
  readonly score: number;
  /** Whether it has lasted so long that its numbers are now the usual ones. */
  readonly isUsual: boolean;
}

/** The conditions for a run to be unusual. */
export interface Limit {
  readonly score: number;
  /** The least difference, as a share of the usual. */
  readonly share: number;
}

/** The scatter of so few days is itself uncertain. */
const scatterSpare = 1.5;
/**
 * A failure rate must also differ from the rate of the same weekdays, but they are few: odds of e³.
 */
const weekdayScoreMin = 3;

/** The minimum that a day at the end of a run must add to its score. */
const endScoreMin = 1;

/** Odds of e¹⁰ that the days between two runs were usual. */
const gapOddsMin = 10;

/** A span compared with the days before it. */
interface Comparison {
  readonly sample: Sample;
  /** For failures: the sample with the same weekdays only. */
  readonly alike: Sample;
}

function differs(sample: Sample, share: number): boolean {
  const usual = expectedOf(sample);
  return Math.abs(sample.count - usual) >= share * usual;
}

/**
 * Compares days in a row with the eight weeks before the first of them: counts with those of the same
 * weekdays, failure rates with that of all days.
 */
export class Comparer {
  readonly #counts: Float64Array;
  readonly #whole: Float64Array | undefined;
  /** Whether a day has a number. */
  readonly #known: Uint8Array;
  /**
   * For each day, the number of the same weekdays in the eight weeks before it that are not left
   * out.
   */
  readonly #days: Float64Array;
  readonly #count: Float64Array;
  readonly #size: Float64Array;
  /** The first day that a day is compared with. */
  readonly #oldest: Int32Array;
  readonly #left: ReadonlySet<number>;
  /** See `#scatter`; 0 if it is not known yet. */
  readonly #scatters: Float64Array;

  /**
   * @param since the index of the first day of the data
   * @param left days that are not compared with, because they are unusual themselves
   * @param breaks first days of new usual numbers: a week after them, days before them are no longer
   *   compared with
   */
  constructor(
    { counts, whole }: Numbers,
    since: number,
    left: ReadonlySet<number>,
    breaks: readonly number[] = [],
  ) {
    this.#counts = Float64Array.from(counts);
    this.#whole = whole && Float64Array.from(whole);
    this.#left = left;
    this.#known = new Uint8Array(counts.length + week);
    this.#scatters = new Float64Array(counts.length + week);
    for (let day = since; day < counts.length; day++) {
      this.#known[day] = Number(whole === undefined || (whole[day] ?? 0) > 0);
    }
    const compared = this.#known.slice();
    for (const day of left) compared[day] = 0;
    const { length } = compared;
    this.#oldest = Int32Array.from(compared, (_, day) => day);
    this.#days = new Float64Array(length);
    this.#count = new Float64Array(length);
    this.#size = new Float64Array(length);
    for (let day = week; day < length; day++) {
      const settled = breaks.filter((first) => first + week <= day);
      const earliest = Math.max(0, day - week * weeksBackMax, ...settled);
      let [days, count, size] = [0, 0, 0];
      for (let at = day - week; at >= earliest && days < weeks; at -= week) {
        if (compared[at] === 0) continue;
        days += 1;
        count += counts[at] ?? 0;
        size += whole?.[at] ?? 1;
        this.#oldest[day] = at;
      }
      [this.#days[day], this.#count[day], this.#size[day]] = [days, count, size];
    }
  }

  /** Undefined if too few of the same weekdays are known. */
  sampleOf(span: Span): Sample | undefined {
    return this.#compare(span)?.sample;
  }

  /**
   * How surprising the numbers of a span are; below 0 if they are less than usual.
   * @param factor by which a change that is known already multiplies the usual numbers
   */
  scoreOf(span: Span, factor = 1): number {
    const sample = this.sampleOf(span);
    if (sample === undefined) return 0;
    const usual = { ...sample, countBefore: sample.countBefore * factor };
    const sign = Math.sign(sample.count - expectedOf(usual));
    return (sign * surpriseOf(usual)) / this.#scatter(span.first);
  }

  /** The most surprising days in a row, of which none is in `taken`. */
  best({ first, last }: Span, limit: Limit, taken: ReadonlySet<number>): Run | undefined {
    let best: Run | undefined;
    for (let begin = first; begin <= last; begin++) {
      if (!this.#begins(begin)) continue;
      let end = begin - 1;
      while (end < last && end - begin + 1 < runDaysMax && !taken.has(end + 1)) end++;
      best = this.#bestFrom({ first: begin, last: end }, limit, best);
    }
    return best && this.#ended(this.#begun(best, limit, taken), last, limit, taken);
  }

  /**
   * The same run from the day with which it is most surprising; it may become longer. With a
   * scatter of its own, each day would win or lose by what happened in the weeks before it.
   */
  #begun(run: Run, limit: Limit, taken: ReadonlySet<number>): Run {
    const { last } = run;
    const scatter = this.#scatter(run.first);
    const runs: Run[] = [];
    let most: Run | undefined;
    for (let first = last; first > last - 2 * runDaysMax && !taken.has(first); first--) {
      if (!this.#begins(first)) continue;
      if (most !== undefined && this.#isUsualBefore(most, first)) break;
      const begun = this.#runOf({ first, last }, limit, scatter);
      if (begun === undefined || begun.sign !== run.sign) continue;
      runs.push(begun);
      if (begun.score > (most?.score ?? 0)) most = begun;
    }
    const least = (most?.score ?? 0) - endScoreMin;
    // Earlier days that add less are probably usual.
    return runs.find(({ score }) => score >= least) ?? run;
  }

  /** Whether the days from `first` to a run are so usual that what is before them is another run. */
  #isUsualBefore(run: Run, first: number): boolean {
    const [own, gap] = [this.sampleOf(run), this.sampleOf({ first, last: run.first - 1 })];
    if (own === undefined || gap === undefined) return false;
    return usualOdds(gap, own.count / expectedOf(own)) > gapOddsMin;
  }

  /** The same run up to a later day, if it is more surprising then. */
  #ended(run: Run, end: number, limit: Limit, taken: ReadonlySet<number>): Run {
    const scatter = this.#scatter(run.first);
    let best = run;
    for (let last = run.last + 1; last <= end && last < run.first + 2 * runDaysMax; last++) {
      if (taken.has(last)) break;
      const longer = this.#runOf({ first: run.first, last }, limit, scatter);
      if (longer?.sign === run.sign && longer.score > best.score + endScoreMin) best = longer;
    }
    return best;
  }

  /** Whether a run can begin on a day: it is known, and not closed on that weekday. */
  #begins(day: number): boolean {
    if (this.#known[day] === 0 || (this.#days[day] ?? 0) < weeksMin) return false;
    return this.#whole !== undefined || (this.#counts[day] ?? 0) + (this.#count[day] ?? 0) > 0;
  }

  /** The best of the spans that begin with the first day, if it is better than a known run. */
  #bestFrom({ first, last }: Span, limit: Limit, other: Run | undefined): Run | undefined {
    // The inner loop of the rule: locals, and no objects for the spans that are usual.
    const [counts, whole, known] = [this.#counts, this.#whole, this.#known];
    const [daysOf, countOf] = [this.#days, this.#count];
    let best = other;
    let least = best?.score ?? limit.score;
    let [days, count, size, usual, daysBefore] = [0, 0, 1, 0, 0];
    let [countBefore, sizeBefore] = [0, 0];
    if (whole !== undefined) [size, countBefore, sizeBefore] = [0, ...this.#allBefore(first)];
    for (let day = first, at = first; day <= last; day++, at++) {
      if (at === first + week) at = first;
      const before = daysOf[at] ?? 0;
      if (known[day] === 0 || before < weeksMin) continue;
      count += counts[day] ?? 0;
      if (whole !== undefined) size += whole[day] ?? 0;
      else {
        days += 1;
        if (day - first < week) daysBefore += before;
        usual += (countOf[at] ?? 0) / before;
        sizeBefore = daysBefore / days;
        countBefore = usual * sizeBefore;
      }
      const difference = count * sizeBefore - countBefore * size;
      const chance = (count + countBefore) * size * sizeBefore;
      // An upper bound of the surprise that needs no logarithm: most spans end here.
      if (difference * difference <= least * chance) continue;
      const surprise = surpriseOf({ count, size, days, countBefore, sizeBefore });
      if (surprise <= least || surprise <= least * this.#scatter(first)) continue;
      const run = this.#runOf({ first, last: day }, limit);
      if (run !== undefined && run.score > least) [best, least] = [run, run.score];
    }
    return best;
  }

  /** Undefined if the span is not unusual. */
  #runOf(span: Span, limit: Limit, scatter = this.#scatter(span.first)): Run | undefined {
    const compared = this.#compare(span);
    if (compared === undefined) return undefined;
    const { sample, alike } = compared;
    if (!differs(sample, limit.share) || !differs(alike, limit.share)) return undefined;
    const score = surpriseOf(sample) / scatter;
    if (score <= limit.score || surpriseOf(alike) < weekdayScoreMin) return undefined;
    return { ...span, score, sign: sample.count > expectedOf(sample) ? 1 : -1, isUsual: false };
  }

  #compare({ first, last }: Span): Comparison | undefined {
    let [days, count, size, usual] = [0, 0, 0, 0];
    const seen = new Set<number>();
    for (let day = first; day <= last; day++) {
      const at = first + ((day - first) % week);
      const daysOf = this.#days[at] ?? 0;
      if (this.#known[day] === 0 || daysOf < weeksMin) continue;
      seen.add(at);
      days += 1;
      count += this.#counts[day] ?? 0;
      size += this.#whole?.[day] ?? 0;
      usual += (this.#count[at] ?? 0) / daysOf;
    }
    if (days === 0) return undefined;
    const sum = (values: Float64Array) => [...seen].reduce((all, at) => all + (values[at] ?? 0), 0);
    if (this.#whole !== undefined) {
      const [countBefore, sizeBefore] = this.#allBefore(first);
      const alike = {
        count,
        size,
        days,
        countBefore: sum(this.#count),
        sizeBefore: sum(this.#size),
      };
      return { sample: { count, size, days, countBefore, sizeBefore }, alike };
    }
    // The days before count once for each time that their weekday is in the span.
    const times = sum(this.#days) / days;
    const sample = { count, size: 1, days, countBefore: usual * times, sizeBefore: times };
    return { sample, alike: sample };
  }

  /** The count and the size of the eight weeks before a day. */
  #allBefore(day: number): [count: number, size: number] {
    let [count, size] = [0, 0];
    for (let at = day; at < day + week; at++) {
      count += this.#count[at] ?? 0;
      size += this.#size[at] ?? 0;
    }
    return [count, size];
  }

  /**
   * By which factor the eight weeks before a day scatter more than by chance; at least 1. By chance
   * alone, the variance of a count is as large as its mean.
   */
  #scatter(day: number): number {
    return (this.#scatters[day] ||= this.#scatterBefore(day));
  }

  #scatterBefore(day: number): number {
    const [count, size] = this.#allBefore(day);
    const whole = this.#whole;
    let [squares, expected, days] = [0, 0, 0];
    for (let before = Math.max(0, day - week * weeksBackMax); before < day; before++) {
      if (this.#known[before] === 0 || this.#left.has(before)) continue;
      const at = day + ((before - day) % week) + (before % week === day % week ? 0 : week);
      if (before < (this.#oldest[at] ?? day)) continue;
      const daysOf = this.#days[at] ?? 0;
      const mean = whole ? (count / size) * (whole[before] ?? 0) : (this.#count[at] ?? 0) / daysOf;
      squares += ((this.#counts[before] ?? 0) - mean) ** 2;
      // A mean is nearer to its own days than to others.
      expected += mean * (1 - 1 / (whole ? week * weeks : daysOf));
      days += 1;
    }
    if (expected <= 0) return 1;
    return Math.max(1, (squares / expected) * (1 + scatterSpare / Math.sqrt(days)));
  }
}
