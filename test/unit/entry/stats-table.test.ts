import { stripVTControlCharacters } from 'node:util';

import stringWidth from 'string-width';
import { describe, expect, it } from 'vitest';

import { dayLine } from '../../../src/entry/stats/day-line.ts';
import { bar, statsTable } from '../../../src/entry/stats/stats-table.ts';

const rows = [
  { date: '2026-01-01', type: 'laptop', state: 'erased', count: 8 },
  { date: '2026-01-02', type: 'laptop', state: 'erasure failed', count: 3 },
  { date: '2026-01-02', type: 'phone', state: 'erased', count: 1 },
];
const columns = ['date', 'type', 'state'] as const;

describe('a bar', () => {
  it('is as long as its share of the largest count', () => {
    expect(bar(8, 8)).toBe('█'.repeat(20));
    expect(bar(4, 8)).toBe('█'.repeat(10));
    expect(bar(4, 8, 6)).toBe('█'.repeat(3));
    expect(bar(0, 8)).toBe('');
  });

  it('of a small count can still be seen', () => {
    expect(bar(1, 1_000_000)).toBe('▏');
  });
});

describe('the line of days', () => {
  it('has the total of each day, in order, and a dot for each day without counts', () => {
    const range = { from: '2025-12-31', to: '2026-01-04' };
    const line = '·█▅··  2025-12-31 to 2026-01-04; · no counts\n';
    expect(dayLine([...rows].reverse(), range, 80)).toBe(line);
  });

  it('is missing for a single day, and without counts', () => {
    expect(dayLine(rows.slice(1), { from: '2026-01-02', to: '2026-01-02' }, 80)).toBe('');
    expect(dayLine([], { from: '2026-01-02', to: '2026-01-05' }, 80)).toBe('');
  });

  it('has the latest 40 days, or the latest with counts if those have none', () => {
    const days = Array.from({ length: 70 }, (_, day) => {
      const date = new Date(Date.UTC(2026, 0, 1 + day)).toISOString().slice(0, 10);
      return { date, count: 1 };
    });
    const from = '0000-01-01';
    expect(dayLine(days, { from, to: '2026-03-13' }, 80)).toMatch(
      /^█{38}·· {2}2026-02-02 to 2026-03-13;/,
    );
    expect(dayLine(days, { from, to: '2027-03-11' }, 80)).toBe(
      `${'█'.repeat(40)}  2026-01-31 to 2026-03-11\n`,
    );
  });

  it('does not wrap on a narrow terminal', () => {
    const range = { from: '2025-12-31', to: '2026-01-04' };
    expect(dayLine(rows, range, 42)).toBe('·█▅··\n2025-12-31 to 2026-01-04; · no counts\n');
    expect(dayLine(rows, range, 4)).toBe('█··\n2026-01-02 to 2026-01-04; · no counts\n');
  });
});

describe('a table', () => {
  const terminal = { width: 80, isColourful: true };
  const linesOf = (text: string) => stripVTControlCharacters(text).trimEnd().split('\n');

  it('has shares and bars on a terminal only, and failing states are red', async () => {
    const table = await statsTable(rows, columns, terminal);
    expect(table).toContain('█');
    expect(table).toContain('66.7%');
    expect(table.split('\u001b[31merasure failed')).toHaveLength(2);
    const plain = await statsTable(rows, columns);
    expect(plain).not.toMatch(/[█%]/);
    expect(plain).toMatch(/total +│ +12 │\n[^\n]*\n$/);
    expect(await statsTable(rows, columns, { ...terminal, isColourful: false })).not.toContain(
      '\u001b',
    );
  });

  it('is as wide as the terminal at most, also with long names', async () => {
    const long = { date: '2026-01-02', type: 'x'.repeat(128), state: 'y'.repeat(60), count: 5 };
    for (const width of [60, 80, 120, 200]) {
      const lines = linesOf(await statsTable([...rows, long], columns, { ...terminal, width }));
      expect(Math.max(...lines.map((line) => line.length)), `${width}`).toBeLessThanOrEqual(width);
      expect(lines.join('')).toContain('…');
      expect(lines.join('')).toContain('2026-01-02');
    }
  });

  it('counts the columns that a terminal shows, also of wide characters, and clips between them', async () => {
    const wide = [
      { date: '2026-01-02', type: '手机'.repeat(40), state: 'erased', count: 5 },
      { date: '2026-01-02', type: `${'x'.repeat(60)}é`, state: '平板', count: 5 },
      // Of two characters each, which take more columns together than alone.
      {
        date: '2026-01-02',
        type: '❤\ufe0f'.repeat(60),
        state: '1\ufe0f\u20e3'.repeat(40),
        count: 5,
      },
    ];
    for (const width of [undefined, 80, 81]) {
      const shown = width === undefined ? undefined : { ...terminal, width };
      const widths = linesOf(await statsTable(wide, columns, shown)).map((line) =>
        stringWidth(line),
      );
      expect(new Set(widths).size, String(width)).toBe(1);
      if (width !== undefined) expect(widths[0]).toBeLessThanOrEqual(width);
    }
  });

  it('of no counts is one, too, and the word for the totals fits beside short names', async () => {
    expect(linesOf(await statsTable([], columns))).toHaveLength(5);
    const short = [{ type: 'tv', count: 1 }];
    expect(linesOf(await statsTable(short, ['type'], terminal)).at(-2)).toMatch(/^│ total │ +1 │/);
  });

  it('takes time in proportion to its rows', async () => {
    const many = Array.from({ length: 20_000 }, (_, n) => ({ type: `type ${n}`, count: n }));
    // A library compares each cell with all rows before it, which takes minutes.
    const lines = linesOf(await statsTable(many, ['type']));
    expect(lines).toHaveLength(20_005);
    expect(lines.at(-2)).toContain('199,990,000');
  });

  it('has the largest rows if not all fit, and the total of all', async () => {
    const lines = linesOf(await statsTable(rows, columns, { ...terminal, rowsMax: 2 }));
    expect(lines).toHaveLength(7);
    expect(lines.join('')).not.toContain('phone');
    expect(lines.at(-2)).toMatch(/total, with 1 smaller row.*│ +12 │/);
  });
});
