import { expectedOf, surpriseOf, type Sample } from './chance.ts';
import { Comparer, overlaps, type Run, type Span } from './comparer.ts';
import type { History } from './history.ts';
import { judgeNumbers, settling } from './runs.ts';
import {
  limitOf,
  numbersOf,
  scoreOf,
  sumOfNumbers,
  without,
  type Series,
  type Subject,
} from './series.ts';

/** The causes of unusual days. */
export interface Origin {
  readonly run: Run;
  /** The types, the largest difference first; empty: all. */
  readonly names: readonly string[];
  /** Whether the other types changed, too. */
  readonly isShared: boolean;
}

/** Odds of e³: below this score, a number without a part of it is usual. */
const restScoreMax = 3;

/** The numbers of a page, and what is unusual in them. */
export class Judgement {
  readonly history: History;
  /** The days that are over. */
  readonly span: Span;
  readonly series: readonly Series[];
  readonly #byName: ReadonlyMap<string, Series>;

  constructor(history: History, span: Span, series: readonly Series[]) {
    this.history = history;
    this.span = span;
    this.series = series;
    this.#byName = new Map(this.series.map((each) => [nameOf(each), each]));
  }

  /** How surprising a run must be, given all numbers that are judged. */
  get score(): number {
    return scoreOf(this.series.length * (this.span.last - this.span.first + 1));
  }

  get(subject: Subject): Series | undefined {
    return this.#byName.get(nameOf(subject));
  }

  /** The sample of a type; a new one is compared with all types. */
  sampleOf(subject: Subject, span: Span): { sample: Sample; isNew: boolean } | undefined {
    const own = this.get(subject);
    // Weeks that were unusual themselves are better than none.
    const sample =
      own?.comparer.sampleOf(span) ??
      (own && new Comparer(own, this.history.first, new Set()).sampleOf(span));
    if (sample !== undefined) return { sample, isNew: false };
    const usual = this.get({ ...subject, type: undefined })?.comparer.sampleOf(span);
    const { counts, whole } = numbersOf(this.history, subject);
    const [count, size] = [sumIn(counts, span), sumIn(whole ?? [], span)];
    if (usual === undefined || size === 0) return undefined;
    const days = span.last - span.first + 1;
    return { sample: { ...usual, count, size, days }, isNew: true };
  }

  /** The failing state that explains more failures; else the same series. */
  narrowed(series: Series, run: Run): Series {
    const { measure, type, state } = series;
    if (measure === 'events' || state !== undefined) return series;
    const found = [...this.history.failing]
      .flatMap((each) => this.get({ measure, type, state: each }) ?? [])
      .filter((one) => run.sign * one.comparer.scoreOf(run) >= this.score)
      .find((one) => run.sign * this.restOf(series, [one], run) < restScoreMax);
    return found ?? series;
  }

  /**
   * The best explanation of a number's unusual days.
   * @param isFixed whether the days are given
   * @param known types that already have the same finding
   */
  originOf(series: Series, run: Run, isFixed: boolean, known: readonly string[]): Origin {
    const { measure, state, type } = series;
    const subject = { measure, state, type: undefined };
    const isOfState = measure === 'events' && state !== undefined;
    const names = isOfState ? [] : this.#namesOf(subject, run, type, known);
    if (names.length === 0) return { run, names, isShared: false };
    const rest = this.restOf(
      series,
      names.map((name) => ({ ...subject, type: name })),
      run,
    );
    if (type === undefined && run.sign * rest >= restScoreMax) {
      return { run, names: measure === 'failures' && run.sign > 0 ? names : [], isShared: true };
    }
    const own = isFixed ? run : this.#runOf(subject, names, run);
    const again = this.#namesOf(subject, own, type, known);
    return again.length === 0
      ? { run, names, isShared: false }
      : { run: own, names: again, isShared: false };
  }

  /** How surprising a number is without parts of it; below 0 if it is less than usual. */
  restOf(series: Series, parts: readonly Subject[], span: Span): number {
    const rest = without(this.history, series, parts);
    const { left, breaks } = series;
    return new Comparer(rest, this.history.first, left, breaks).scoreOf(span);
  }

  /** The types that differ more than chance explains, or none if most of them do, and the others, too. */
  #namesOf(
    subject: Subject,
    run: Run,
    type: string | undefined,
    known: readonly string[],
  ): string[] {
    const all = this.history.types.size;
    const found = all < 2 ? [] : this.#typesOf(subject, run);
    const names = found.filter((name) => !known.includes(name));
    if (type !== undefined && !names.includes(type)) names.unshift(type);
    const areMost = subject.measure === 'events' && names.length > 1 && 2 * names.length > all;
    return areMost && this.isOfAll(subject, run) && this.#areOthersAlike(subject, names, run)
      ? []
      : names;
  }

  /** Whether the types that are not named differ in the same direction. */
  #areOthersAlike(subject: Subject, names: readonly string[], run: Run): boolean {
    const series = this.get({ ...subject, type: undefined });
    if (series === undefined || names.length === this.history.types.size) return true;
    const parts = names.map((type) => ({ ...subject, type }));
    return run.sign * this.restOf(series, parts, run) >= restScoreMax;
  }

  /** Whether all types together differ as much as a number must to be unusual. */
  isOfAll(subject: Subject, run: Run): boolean {
    const all = { ...subject, type: undefined };
    const sample = this.get(all)?.comparer.sampleOf(run);
    if (sample === undefined) return false;
    const usual = expectedOf(sample);
    return run.sign * (sample.count - usual) >= limitOf(all, 1).share * usual;
  }

  #typesOf(subject: Subject, run: Run): string[] {
    const names = [...this.history.types.keys()];
    const { score, share } = limitOf({ ...subject, type: '' }, names.length);
    const found = names.flatMap((type) => {
      const one = { ...subject, type };
      const known = this.sampleOf(one, run);
      if (known === undefined) return [];
      const usual = expectedOf(known.sample);
      const more = run.sign * (known.sample.count - usual);
      const own = known.isNew
        ? surpriseOf(known.sample)
        : Math.abs(this.get(one)?.comparer.scoreOf(run) ?? 0);
      return more > 0 && more >= share * usual && own >= score ? [{ type, more }] : [];
    });
    return found.sort((a, b) => b.more - a.more).map(({ type }) => type);
  }

  /** The unusual days of some types together. */
  #runOf(subject: Subject, names: readonly string[], run: Run): Run {
    const parts = names.map((type) => ({ ...subject, type }));
    const known = parts.filter((part) => this.get(part)?.comparer.sampleOf(run) !== undefined);
    if (known.length === 0) return run;
    const numbers = sumOfNumbers(known.map((part) => numbersOf(this.history, part)));
    const limit = { ...limitOf({ ...subject, type: '' }, 1), score: this.score };
    const { runs } = judgeNumbers(numbers, this.span, this.history.first, limit);
    return runs.find((own) => own.sign === run.sign && overlaps(settling(own), run)) ?? run;
  }
}

function nameOf({ measure, type, state }: Subject): string {
  return JSON.stringify([measure, type, state]);
}

function sumIn(values: readonly number[], { first, last }: Span): number {
  return values.slice(first, last + 1).reduce((sum, value) => sum + value, 0);
}
