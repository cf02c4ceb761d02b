import { describe, expect, it } from 'vitest';

import { barChart, formatFigure, lineChart } from '../../../bench/plot/plot.ts';

const line = () =>
  lineChart({
    title: 'Throughput & <more>',
    subtitle: 'a "machine"',
    x: { label: 'counters', scale: 'log' },
    y: { label: 'items/s', scale: 'linear' },
    series: [
      {
        name: 'ours',
        points: [
          [100, 900_000],
          [10_000, 850_000],
        ],
      },
    ],
  });

const bar = () =>
  barChart({
    title: 'Throughput',
    groupLabel: 'items a request',
    groups: ['1', '1000'],
    y: { label: 'items/s', scale: 'log' },
    series: [
      { name: 'ours', values: [20_000, 3_000_000], spreads: [[18_000, 22_000], undefined] },
      { name: 'theirs', values: [undefined, 400_000] },
    ],
  });

describe.each([
  ['a line chart', line],
  ['a bar chart', bar],
])('%s', (_name, chart) => {
  it('is the same bytes for the same figures', () => {
    expect(chart()).toBe(chart());
  });

  it('is well-formed XML', () => {
    expect(faultOfXml(chart())).toBeUndefined();
  });

  it('follows the colour scheme of the reader', () => {
    expect(chart()).toContain('@media (prefers-color-scheme:dark)');
  });

  it('runs no script and loads nothing', () => {
    expect(chart()).not.toMatch(/<script|href=|url\((?!#)| on\w+=/i);
  });
});

it('names axes, series and title', () => {
  const svg = line();
  for (const text of ['Throughput &amp; &lt;more&gt;', 'counters', 'items/s', 'ours', '10k']) {
    expect(svg).toContain(`>${text}</text>`);
  }
});

it('begins a linear axis of figures at 0', () => {
  expect(line()).toContain('>0</text>');
});

it('draws no bar without a figure', () => {
  const bars = bar().match(/fill="#e0752d"/g);
  // One bar, and the mark in the legend.
  expect(bars).toHaveLength(2);
});

it.each([
  [0, '0'],
  [0.05, '0.05'],
  [1500, '1.5k'],
  [1_000_000, '1M'],
  [10_000_000_000, '10G'],
])('writes %d on an axis as %s', (figure, text) => {
  expect(formatFigure(figure)).toBe(text);
});

it('finds what is not well-formed', () => {
  expect(faultOfXml('<a><b></a>')).toBe('</a> closes <b>');
  expect(faultOfXml('<a b=c></a>')).toBe('<a b=c> is no tag');
  expect(faultOfXml('<a>x & y</a>')).toBe('x & y is no text');
});

/** What is wrong with a document of elements, attributes and text alone. */
function faultOfXml(xml: string): string | undefined {
  const open: string[] = [];
  for (const [token] of xml.matchAll(/<[^>]*>|[^<]+/g)) {
    const tag = /^<(\/?)([\w:-]+)(?:\s+[\w:-]+="[^"<]*")*\s*(\/?)>$/.exec(token);
    if (!token.startsWith('<')) {
      if (/&(?!(?:amp|lt|gt|quot|apos|#\d+);)/.test(token)) return `${token} is no text`;
    } else if (tag === null) {
      return `${token} is no tag`;
    } else if (tag[1] === '/') {
      const opened = open.pop();
      if (opened !== tag[2]) return `${token} closes <${opened ?? ''}>`;
    } else if (tag[3] === '') {
      open.push(tag[2] ?? '');
    }
  }
  return open.length === 0 ? undefined : `${open.join()} is never closed`;
}
