import { join } from 'node:path';

import { lineChart, writeChart } from '../plot/plot.ts';
import type { Experiment, Figures } from './experiment.ts';
import { lastDecadeExponent, linearithmicExponent, medians } from './figures.ts';

/** The measurements of a point, by round. */
export interface Measured {
  readonly x: number;
  readonly turns: readonly Figures[];
}

/** The medians as a table, and below it the growth of each cost. */
export function markdownOf(experiment: Experiment, measured: readonly Measured[]): string {
  const { x, columns } = experiment;
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rows = measured.map(({ x: at, turns }) => {
    const figures = medians(turns);
    const cells = columns.map(({ figure, digits = 0 }) => withDigits(figures[figure], digits));
    return line([at.toLocaleString('en'), ...cells]);
  });
  return [
    `### ${experiment.name}`,
    '',
    line([x.label, ...columns.map(({ label }) => label)]),
    line(['---', ...columns.map(() => '---:')]),
    ...rows,
    '',
    ...growthOf(experiment, measured),
    '',
  ].join('\n');
}

/** y ~ n^e: 0 does not grow, 1 is in proportion. */
function growthOf({ judged, unit }: Experiment, measured: readonly Measured[]): string[] {
  const limit = linearithmicExponent(unit * Math.max(...measured.map(({ x }) => x)));
  return judged.map(({ label, costOf }) => {
    const points = measured.map(({ x, turns }) => [x, costOf(medians(turns))] as const);
    const exponent = lastDecadeExponent(points);
    if (exponent === undefined) return `- ${label}: too few points to tell.`;
    const verdict = exponent <= limit ? 'below' : 'ABOVE';
    return `- ${label}: n^${exponent.toFixed(2)} over the last decade (${verdict} n log n, there n^${limit.toFixed(2)}).`;
  });
}

export function drawCharts(
  { charts, x }: Experiment,
  measured: readonly Measured[],
  directory: string,
  subtitle: string,
): void {
  for (const { name, title, y, lines } of charts) {
    const series = Object.entries(lines).map(([figure, label]) => ({
      name: label,
      points: measured.map(({ x: at, turns }) => [at, medians(turns)[figure] ?? NaN] as const),
    }));
    const svg = lineChart({ title, subtitle, x, y, series });
    writeChart(join(directory, `growth-${name}.svg`), svg);
  }
}

function withDigits(figure: number | undefined, digits: number): string {
  return (figure ?? NaN).toLocaleString('en', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}
