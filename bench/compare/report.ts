import { join } from 'node:path';

import { median } from '../growth/figures.ts';
import { barChart, writeChart } from '../plot/plot.ts';

/** One contestant in one turn. */
export interface Measured {
  readonly requestsPerSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly peakMiB: number;
  /** CPU seconds of all its processes for a million items, until they are counted. */
  readonly cpuSecondsPerMillion: number;
}

/** The turns of each contestant, in one order, at one size and number of connections. */
export interface Cell {
  readonly items: number;
  readonly connections: number;
  readonly turns: Readonly<Record<string, readonly Measured[]>>;
}

const bare = 'bare node:http';
const ours = 'device-pipeline';

/** A row for each contestant: medians, and ratios turn by turn with the least and the most. */
export function tableOf({ items, connections, turns }: Cell): string {
  const costOfOurs = median((turns[ours] ?? []).map((each) => each.cpuSecondsPerMillion));
  const rows = Object.entries(turns).map(([name, measured]) => {
    const rates = measured.map(({ requestsPerSecond }) => requestsPerSecond);
    const of = (figure: keyof Measured) => median(measured.map((each) => each[figure]));
    return [
      name,
      spread(rates, (rate) => Math.round(rate).toLocaleString('en')),
      Math.round(median(rates) * items).toLocaleString('en'),
      of('p50').toFixed(1),
      of('p99').toFixed(1),
      of('peakMiB').toFixed(0),
      of('cpuSecondsPerMillion').toFixed(2),
      spread(ratios(turns, name, bare), (ratio) => ratio.toFixed(2)),
      spread(ratios(turns, ours, name), (ratio) => ratio.toFixed(1)),
      (of('cpuSecondsPerMillion') / costOfOurs).toFixed(1),
    ];
  });
  return markdown(
    `${items} items a request, ${connections} connections`,
    [
      ...['', 'requests/s', 'items/s', 'p50 ms', 'p99 ms', 'peak MiB', 'CPU s/million items'],
      ...['of bare', 'ours is × as fast', '× the CPU of ours'],
    ],
    rows,
  );
}

export function markdown(
  title: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`;
  const rule = line(head.map((_, index) => (index === 0 ? '---' : '---:')));
  return `**${title}**\n\n${line(head)}${rule}${rows.map(line).join('')}\n`;
}

function ratios(turns: Cell['turns'], over: string, under: string): number[] {
  const below = turns[under] ?? [];
  return (turns[over] ?? []).map(
    ({ requestsPerSecond }, turn) => requestsPerSecond / (below[turn]?.requestsPerSecond ?? NaN),
  );
}

function spread(values: readonly number[], format: (value: number) => string): string {
  if (values.length === 0 || values.some(Number.isNaN)) return '–';
  const middle = format(median(values));
  if (values.length === 1) return middle;
  return `${middle} (${format(Math.min(...values))}–${format(Math.max(...values))})`;
}

/** The cells with the most connections: items a second by size. */
export function drawCells(cells: readonly Cell[], directory: string, subtitle: string): void {
  const most = Math.max(...cells.map(({ connections }) => connections));
  const shown = cells.filter(({ connections }) => connections === most);
  const names = Object.keys(shown[0]?.turns ?? {});
  const series = names.map((name) => {
    const rates = shown.map(({ items, turns }) =>
      (turns[name] ?? []).map(({ requestsPerSecond }) => requestsPerSecond * items),
    );
    return {
      name,
      values: rates.map((each) => (each.length === 0 ? undefined : median(each))),
      spreads: rates.map((each) =>
        each.length === 0 ? undefined : ([Math.min(...each), Math.max(...each)] as const),
      ),
    };
  });
  const svg = barChart({
    title: `Items a second, ${most} connections`,
    subtitle,
    y: { label: 'items/s', scale: 'log' },
    groupLabel: 'items a request',
    groups: shown.map(({ items }) => String(items)),
    series,
  });
  writeChart(join(directory, 'ingest.svg'), svg);
}
