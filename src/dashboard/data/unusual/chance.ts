/** A number of a day or of some days in a row, and the same weekdays of the weeks before. */
export interface Sample {
  /** Events, or failures. */
  readonly count: number;
  /** The events, if the number counts failures; 1 if it counts events. */
  readonly size: number;
  /** The number of days that could be compared. */
  readonly days: number;
  /** The count and the size of the earlier days, added up. */
  readonly countBefore: number;
  readonly sizeBefore: number;
}

/** The expected count if nothing has changed since the earlier days. */
export function expectedOf({ size, countBefore, sizeBefore }: Sample): number {
  return (countBefore / sizeBefore) * size;
}

/**
 * How surprising a difference is: if nothing has changed, chance causes a difference this large
 * less than once in e^surprise times. It is the log of the likelihood ratio of two Poisson counts
 * (Chernoff's bound of their tail), so it allows for chance in the days before, too.
 */
export function surpriseOf({ count, size, countBefore, sizeBefore }: Sample): number {
  if (count + countBefore === 0) return 0;
  const share = size / (size + sizeBefore);
  const even = (count + countBefore) * share;
  // Counts are whole, so half a step towards the even split.
  const nearer = count > even ? count - 0.5 : count + 0.5;
  const all = nearer + countBefore;
  if (count > even !== nearer > all * share) return 0;
  const rest = countBefore === 0 ? 0 : countBefore * Math.log(countBefore / (all * (1 - share)));
  return nearer * Math.log(nearer / (all * share)) + rest;
}

/**
 * The log of a likelihood ratio: that a count is the usual one, and not the usual one times a ratio.
 */
export function usualOdds(sample: Sample, ratio: number): number {
  return expectedOf(sample) * (ratio - 1) - sample.count * Math.log(Math.max(ratio, 0.01));
}
