import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { bucketsOf } from '../../../src/dashboard/data/calendar/buckets.ts';
import { colourOfFailures, seriesColours } from '../../../src/dashboard/data/colours.ts';
import { failureTest, isFailure, sumBy, topNames } from '../../../src/dashboard/data/counts.ts';
import { daysOf } from '../../../src/dashboard/data/calendar/days.ts';
import { changeText, pointsText, rateText, shareText } from '../../../src/dashboard/data/format.ts';
import { heatMapOf, shadeOf } from '../../../src/dashboard/data/heat-map.ts';
import { seriesMax, seriesOf } from '../../../src/dashboard/data/series.ts';
import { matching, sorted } from '../../../src/dashboard/data/table-rows.ts';
import { typeRates } from '../../../src/dashboard/data/type-rates.ts';
import type { View } from '../../../src/dashboard/data/view.ts';

const isFailing = (name: string) => name.startsWith('f');

describe('the series', () => {
  const range = { from: '2026-01-01', to: '2026-12-31' };

  it('are together the counts of each day, and the failing ones its failures', () => {
    const row = fc.record({
      date: fc.constantFrom(...daysOf(range).slice(0, 200)),
      name: fc.stringMatching(/^[a-k]$|^f[a-h]$/),
      count: fc.integer({ min: 1, max: 1_000_000 }),
    });
    fc.assert(
      fc.property(fc.array(row), (rows) => {
        const buckets = bucketsOf(range);
        const daily = sumBy(rows, ({ date }) => date);
        const failed = rows.filter(({ name }) => isFailing(name));
        const failedDaily = sumBy(failed, ({ date }) => date);
        const sums = sumBy(rows, ({ name }) => name);
        const series = seriesOf(buckets, { rows, daily, failedDaily, sums }, isFailing);
        buckets.forEach(({ from, to }, index) => {
          const within = ({ date }: { date: string }) => date >= from && date <= to;
          const total = (all: typeof rows) =>
            all.filter(within).reduce((sum, { count }) => sum + count, 0);
          const drawn = (all: typeof series) =>
            all.reduce((sum, { values }) => sum + (values[index] ?? 0), 0);
          expect(drawn(series)).toBe(total(rows));
          expect(drawn(series.filter((one) => one.isFailing))).toBe(total(failed));
        });
        expect(series.reduce((sum, { names }) => sum + names, 0)).toBe(sums.size);
        expect(series.filter(({ name }) => name !== undefined).length).toBeLessThanOrEqual(
          seriesMax,
        );
      }),
    );
  });

  it('name failures though other names are larger, and sum the rest of them apart', () => {
    const names = Array.from('abcdeghijklm').map((name) => ({ name, count: 1000 }));
    const failing = ['f1', 'f2', 'f3', 'f4', 'f5'].map((name, index) => ({
      name,
      count: 9 - index,
    }));
    const rows = [...names, ...failing].map((row) => ({ ...row, date: '2026-01-01' }));
    const daily = sumBy(rows, ({ date }) => date);
    const failedDaily = new Map([['2026-01-01', 35]]);
    const sums = sumBy(rows, ({ name }) => name);
    const buckets = bucketsOf({ from: '2026-01-01', to: '2026-01-01' });
    const series = seriesOf(buckets, { rows, daily, failedDaily, sums }, isFailing);
    expect(series.map(({ name, names: count, values }) => [name, count, values[0]])).toEqual([
      ['f1', 1, 9],
      ['f2', 1, 8],
      ['f3', 1, 7],
      [undefined, 2, 11],
      ...['a', 'b', 'c', 'd', 'e'].map((name) => [name, 1, 1000]),
      [undefined, 7, 7000],
    ]);
  });

  it('have colours of their own, the same in any order, and red ones for failures only', () => {
    const named = (name: string | undefined, failing = false) => ({ name, isFailing: failing });
    const passing = Array.from('abcdegh').map((name) => named(name));
    const all = [
      ...['it failed', 'failed too', 'a failure'].map((name) => named(name, true)),
      ...[named(undefined, true), ...passing, named(undefined)],
    ];
    const both = seriesColours(all);
    expect(both).toContain(colourOfFailures);
    expect(seriesColours(all.toReversed())).toEqual(both.toReversed());
    // Each is one for the light and one for the dark.
    for (const scheme of [0, 1]) {
      const colours = both.map((colour) => colour.match(/#[0-9a-f]{6}/g)?.[scheme] ?? '');
      expect(new Set(colours).size).toBe(all.length);
      const isRed = (colour: string) => {
        const [red = 0, green = 0, blue = 0] = (colour.match(/[0-9a-f]{2}/g) ?? []).map((hex) =>
          parseInt(hex, 16),
        );
        return red > 1.2 * green && red > 1.2 * blue && Math.abs(green - blue) < 30;
      };
      expect(colours.map(isRed)).toEqual(all.map((one) => one.isFailing));
    }
  });
});

describe('the counts', () => {
  it('name the largest first, and equal ones by name', () => {
    const sums = new Map(Object.entries({ b: 1, a: 1, c: 5, d: 0 }));
    expect(topNames(sums, 3)).toEqual(['c', 'a', 'b']);
  });

  it('change against nothing is no percentage', () => {
    expect(changeText(5, 0)).toBe('New: none before');
    expect(changeText(0, 0)).toBe('No change');
    expect(changeText(0, 7)).toBe('−100%');
    expect(changeText(7, 4)).toBe('+75%');
    expect(changeText(100_001, 100_000)).toBe('+0.001%');
    expect(changeText(31_406, 31_405)).toBe('+0.003%');
    expect([shareText(0, 0), shareText(1, 3), shareText(1, 1e6)]).toEqual([
      ...['–', '33.3%', '<0.01%'],
    ]);
    expect(
      [
        [0, 9],
        [9, 9],
        [1, 20],
        [13, 1000],
        [4, 10_000],
        [9999, 10_000],
      ].map(([part = 0, all = 0]) => shareText(part, all)),
    ).toEqual([...['0%', '100%', '5.0%', '1.3%', '0.04%', '>99.9%']]);
    expect([0, 0.0004, 0.008, 0.03, 0.123].map(rateText)).toEqual([
      ...['0%', '0.04%', '0.8%', '3.0%', '12%'],
    ]);
    expect([pointsText(0.03, 0.01), pointsText(0.01, 0.2), pointsText(0.1, 0.1001)]).toEqual([
      ...['+2.0', '−19', '±0'],
    ]);
  });

  it('are of failures by the words of the setting, in whatever case', () => {
    expect(isFailure('Erasure FAILED', ['fail'])).toBe(true);
    expect(isFailure('erased', ['fail', 'error'])).toBe(false);
    expect(isFailure('erased', [])).toBe(false);
    const test = failureTest(['fail']);
    expect([test('failed'), test('failed'), test('erased')]).toEqual([true, true, false]);
  });
});

describe('the heat map', () => {
  it('has the others at the end, failing states first, and totals', () => {
    const pairs = Array.from('abcdefghijk').flatMap((type, at) =>
      ['x', 'f1', 'y'].map((state) => ({ type, state, count: 100 - at })),
    );
    const map = heatMapOf(pairs, isFailing);
    expect(map.types).toEqual([...Array.from('abcdefghi'), undefined]);
    expect(map.columns.map(({ name }) => name)).toEqual(['f1', 'x', 'y']);
    expect(map.cells[0]).toEqual([100, 100, 100]);
    expect(map.cells.at(-1)).toEqual([181, 181, 181]);
    expect(map.rowTotals[0]).toBe(300);
    expect(map.columnTotals).toEqual([1045, 1045, 1045]);
    expect(map.total).toBe(3135);
  });

  it('keeps failing states however many others there are', () => {
    const states = Array.from({ length: 40 }, (_, at) => `${at % 8 === 0 ? 'f' : 's'}${at}`);
    const pairs = states.map((state) => ({ type: 'a', state, count: isFailing(state) ? 1 : 50 }));
    const { columns, cells } = heatMapOf(pairs, isFailing);
    expect(columns.filter((column) => column.isFailing)).toHaveLength(5);
    expect(columns[4]).toEqual({ name: undefined, isFailing: true });
    expect(cells[0]?.[4]).toBe(1);
    expect(heatMapOf([], isFailing)).toMatchObject({ types: [], columns: [], total: 0 });
  });

  it('has a shade for each value of its scale', () => {
    expect([0, 1, 50, 100].map((value) => shadeOf(value, 100, 'count'))).toEqual([0, 1, 7, 8]);
    expect([0, 1, 50, 100].map((value) => shadeOf(value, 100, 'rate'))).toEqual([0, 1, 4, 8]);
    expect(shadeOf(0.02, 0.02, 'share')).toBe(8);
  });
});

describe('the failure rates of types', () => {
  it('come highest first, with those of few events last, and the rate before', () => {
    const pair = (type: string, state: string, count: number) => ({ type, state, count });
    const pairs = [
      ...[pair('SSD', 'erased', 90), pair('SSD', 'failed', 10)],
      ...[pair('phone', 'erased', 99), pair('phone', 'failed', 1)],
      pair('odd', 'failed', 1),
    ];
    const before = [pair('SSD', 'erased', 98), pair('SSD', 'failed', 2)];
    const rates = typeRates(pairs, before, isFailing);
    expect(rates.map(({ type, rate, before: then }) => [type, rate, then])).toEqual([
      ['SSD', 0.1, 0.02],
      ['phone', 0.01, undefined],
      ['odd', 1, undefined],
    ]);
  });
});

describe('the table', () => {
  const rows = [
    { date: '2026-01-01', type: 'b', state: 'X', count: 1 },
    { date: '2026-01-02', type: 'a', state: 'y', count: 9 },
    { date: '2026-01-02', type: 'c', state: 'x', count: 10 },
    { date: '2026-01-03', type: 'a', state: 'x', count: 1 },
  ];
  it('has the newest rows first, then the largest, or is sorted by a column', () => {
    const order = (sort: View['sort']) =>
      sorted(rows, sort)
        .map(({ date, count }) => `${date?.at(-1)}:${count}`)
        .join(' ');
    expect(order(undefined)).toBe('3:1 2:10 2:9 1:1');
    expect(order({ column: 'count', isDescending: true })).toBe('2:10 2:9 3:1 1:1');
    expect(order({ column: 'type', isDescending: false })).toBe('3:1 2:9 1:1 2:10');
    const sums = rows.map(({ type, state, count }) => ({ type, state, count }));
    expect(sorted(sums, undefined).map(({ count }) => count)).toEqual([10, 9, 1, 1]);
  });

  it('shows the rows with a text', () => {
    expect(matching(rows, ' x ')).toEqual([rows[0], rows[2], rows[3]]);
    expect(matching(rows, '01-01')).toEqual([rows[0]]);
    const row = { date: '2026-01-01', type: 'SSD', state: 'erasure failed', count: 1 };
    expect(matching([row], 'ssd  FAIL')).toEqual([row]);
    expect(matching([row], 'ssd passed')).toEqual([]);
  });
});
