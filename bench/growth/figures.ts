import type { Point } from '../plot/plot.ts';
import type { Figures } from './experiment.ts';

export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const upper = sorted[sorted.length >> 1] ?? NaN;
  const lower = sorted[(sorted.length - 1) >> 1] ?? NaN;
  return (lower + upper) / 2;
}

/** The median of each figure over the rounds. */
export function medians(turns: readonly Figures[]): Figures {
  const names = Object.keys(turns[0] ?? {});
  return Object.fromEntries(
    names.map((name) => [name, median(turns.map((turn) => turn[name] ?? NaN))]),
  );
}

/**
 * The exponent e of y ~ x^e over the last decade of x, by least squares on logarithms; undefined if that
 * decade has fewer than two points.
 */
export function lastDecadeExponent(points: readonly Point[]): number | undefined {
  const last = Math.max(...points.map(([x]) => x));
  // A little more than a decade, because the values at steps such as 1, 3, 10 are slightly above these.
  const decade = points.filter(([x, y]) => x >= last / 10.5 && x > 0 && y > 0);
  if (decade.length < 2) return undefined;
  const logs = decade.map(([x, y]) => [Math.log(x), Math.log(y)] as const);
  const meanX = logs.reduce((sum, [x]) => sum + x, 0) / logs.length;
  const meanY = logs.reduce((sum, [, y]) => sum + y, 0) / logs.length;
  const covariance = logs.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  const variance = logs.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  return covariance / variance;
}

/** The exponent of n log n over the decade that ends at `last` rows or bytes. */
export function linearithmicExponent(last: number): number {
  const from = Math.max(last / 10, 2);
  return Math.log((last * Math.log(last)) / (from * Math.log(from))) / Math.log(last / from);
}
