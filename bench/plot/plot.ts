import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

import { BarChart, CustomChart, LineChart } from 'echarts/charts';
import { GridComponent, LegendComponent, TitleComponent } from 'echarts/components';
import { init, use, type EChartsCoreOption } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';

import { ink, palette, styled } from './plot-style.ts';
import { whiskers } from './plot-whiskers.ts';

export interface Axis {
  /** The quantity with its unit: `items/s`. */
  readonly label: string;
  /** A linear axis begins at 0. */
  readonly scale: 'linear' | 'log';
}

export type Point = readonly [x: number, y: number];

interface ChartOptions {
  readonly title: string;
  /** Machine and settings; one line of some 120 characters. */
  readonly subtitle?: string;
  readonly y: Axis;
}

export interface LineChartOptions extends ChartOptions {
  readonly x: Axis;
  readonly series: readonly {
    readonly name: string;
    /** By x. */
    readonly points: readonly Point[];
  }[];
}

export interface BarSeries {
  readonly name: string;
  /** One for each group; undefined if there is no figure. */
  readonly values: readonly (number | undefined)[];
  /** The minimum and the maximum, drawn as a whisker. */
  readonly spreads?: readonly (readonly [least: number, most: number] | undefined)[];
}

export interface BarChartOptions extends ChartOptions {
  /** The meaning of the groups: `items a request`. */
  readonly groupLabel: string;
  readonly groups: readonly string[];
  readonly series: readonly BarSeries[];
}

const size = { width: 860, height: 460 };
const markers = ['circle', 'rect', 'triangle', 'diamond'];

use([
  BarChart,
  CustomChart,
  GridComponent,
  LegendComponent,
  LineChart,
  SVGRenderer,
  TitleComponent,
]);

/** A line with markers for each series, as SVG: the same bytes for the same options. */
export function lineChart(options: LineChartOptions): string {
  const { x, y, series } = options;
  const points = series.flatMap((each) => each.points);
  const xs = points.map(([at]) => at);
  const ys = points.map(([, value]) => value);
  return render({
    ...frame(options, series.length),
    xAxis: { ...valueAxis(x, xs), ...nameBelow },
    yAxis: { ...valueAxis(y, ys), ...nameAbove },
    series: series.map((each, index) => ({
      type: 'line',
      name: each.name,
      data: each.points,
      symbol: markers[index % markers.length],
      symbolSize: 9,
      showAllSymbol: true,
      itemStyle: { opacity: 1 },
      lineStyle: { width: 2 },
    })),
  });
}

/** Groups of bars, one bar of each series in a group, as SVG: the same bytes for the same options. */
export function barChart(options: BarChartOptions): string {
  const { groupLabel, groups, y, series } = options;
  const values = series.flatMap((each) => [each.values, each.spreads ?? []].flat(2));
  return render({
    ...frame(options, series.length),
    xAxis: {
      type: 'category',
      data: groups,
      ...axisLook(groupLabel),
      ...nameBelow,
      axisTick: { show: false },
      splitLine: { show: false },
    },
    yAxis: { ...valueAxis(y, values.filter(isNumber)), ...nameAbove },
    series: [
      ...series.map((each) => ({
        type: 'bar',
        name: each.name,
        data: each.values.map((value) => value ?? '-'),
        barGap: '8%',
        barCategoryGap: '22%',
      })),
      ...whiskers(series),
    ],
  });
}

export function writeChart(path: string, svg: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, svg);
}

function render(option: EChartsCoreOption): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, ...size });
  try {
    chart.setOption(option);
    return styled(chart.renderToSVGString());
  } finally {
    chart.dispose();
  }
}

function frame({ title, subtitle = '' }: ChartOptions, seriesCount: number): EChartsCoreOption {
  const headHeight = subtitle === '' ? 46 : 66;
  // More names than this may take a second line.
  const legendHeight = seriesCount > 5 ? 44 : 22;
  return {
    animation: false,
    color: palette,
    backgroundColor: ink.paper,
    title: {
      text: title,
      subtext: subtitle,
      left: 20,
      top: 14,
      textStyle: { color: ink.text, fontSize: 17, fontWeight: 600 },
      subtextStyle: { color: ink.faint, fontSize: 12 },
    },
    legend: {
      left: 18,
      top: headHeight,
      itemGap: 26,
      itemWidth: 22,
      itemHeight: 10,
      textStyle: { color: ink.text, fontSize: 13 },
    },
    grid: { left: 72, right: 36, top: headHeight + legendHeight + 42, bottom: 64 },
  };
}

function valueAxis({ label, scale }: Axis, values: readonly number[]): EChartsCoreOption {
  const look = axisLook(label);
  if (scale === 'linear') return { type: 'value', min: 0, ...look };
  const decade = (round: (power: number) => number, value: number) =>
    10 ** round(Math.log10(value));
  const min = decade(Math.floor, Math.min(...values));
  const max = decade(Math.ceil, Math.max(...values));
  return { type: 'log', min, max: Math.max(max, 10 * min), ...look };
}

function axisLook(name: string): EChartsCoreOption {
  return {
    name,
    nameTextStyle: { color: ink.text, fontSize: 13 },
    axisLabel: { color: ink.faint, fontSize: 12, formatter: formatFigure },
    axisLine: { show: true, onZero: false, lineStyle: { color: ink.faint } },
    axisTick: { show: true, lineStyle: { color: ink.faint } },
    splitLine: { show: true, lineStyle: { color: ink.grid } },
  };
}

const nameBelow = { nameLocation: 'middle', nameGap: 34 };
const nameAbove = {
  nameLocation: 'end',
  nameGap: 16,
  nameTextStyle: { color: ink.text, fontSize: 13, align: 'left', padding: [0, 0, 0, -50] },
};

/** 1500 as 1.5k, for an axis. A name of a group stays as it is. */
export function formatFigure(figure: number | string): string {
  if (typeof figure === 'string') return figure;
  if (figure >= 1e9) return `${Number((figure / 1e9).toPrecision(4))}G`;
  if (figure >= 1e6) return `${Number((figure / 1e6).toPrecision(4))}M`;
  if (figure >= 1e3) return `${Number((figure / 1e3).toPrecision(4))}k`;
  return String(Number(figure.toPrecision(4)));
}

function isNumber(value: number | undefined): value is number {
  return value !== undefined;
}
