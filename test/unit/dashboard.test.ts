import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { colourOfFailures, colourOfOthers, coloursOf } from '../../src/dashboard/data/colours.ts';
import {
  heatMapOf,
  isFailure,
  seriesOf,
  standsAlone,
  sumBy,
  topNames,
} from '../../src/dashboard/data/counts.ts';
import {
  bucketsOf,
  countDays,
  dayRuleText,
  daysOf,
  isDay,
  previousRange,
  rangeDaysMax,
  todayIn,
} from '../../src/dashboard/data/days.ts';
import { agoText, changeText, shareText } from '../../src/dashboard/data/format.ts';
import { readHealth } from '../../src/dashboard/data/health.ts';
import { aheadPath, seriesMax } from '../../src/dashboard/data/load.ts';
import { matching, sorted } from '../../src/dashboard/data/table-rows.ts';
import {
  defaultView,
  isName,
  rangeOf,
  readView,
  statsQuery,
  writeView,
} from '../../src/dashboard/data/view.ts';
import { nameError } from '../../src/domain/device-event.ts';

describe('the days', () => {
  it('before a range are as many', () => {
    expect(previousRange({ from: '2026-03-01', to: '2026-03-01' })).toEqual({
      from: '2026-02-28',
      to: '2026-02-28',
    });
    expect(previousRange({ from: '2024-03-01', to: '2024-03-02' })).toEqual({
      from: '2024-02-28',
      to: '2024-02-29',
    });
    expect(previousRange({ from: '0001-01-02', to: '0001-12-31' })).toBeUndefined();
  });

  it('are those that the calendar has', () => {
    const days = ['2024-02-29', '0001-01-01', '2026-02-29', '2026-2-1', '0000-01-01', ''];
    expect(days.map(isDay)).toEqual([true, true, false, false, false, false]);
  });

  it('of a long range are in weeks, each day in one of them', () => {
    for (const from of ['2026-01-01', '2025-12-29', '2026-02-01']) {
      const range = { from, to: '2026-12-31' };
      const buckets = bucketsOf(range);
      expect(buckets.length).toBeLessThan(55);
      expect(buckets.flatMap((bucket) => daysOf(bucket))).toEqual(daysOf(range));
      expect(Math.max(...buckets.map(countDays))).toBe(7);
      expect(buckets.slice(1).every(({ from: day }) => new Date(day).getUTCDay() === 1)).toBe(true);
    }
    expect(bucketsOf({ from: '2026-01-01', to: '2026-03-01' })).toHaveLength(60);
  });
});

describe('the URL', () => {
  const words = fc.string({ unit: 'grapheme', minLength: 1 }).filter(isName);
  const day = fc
    .date({ min: new Date('1990-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
    .map((date) => date.toISOString().slice(0, 10));
  const views = fc.record({
    range: fc.oneof(
      fc.constantFrom('today', '7', '30', '90', '365').map((preset) => ({ preset })),
      day.map((from) => ({ from, to: from })),
    ),
    types: fc.array(words, { maxLength: 4 }),
    states: fc.array(words, { maxLength: 4 }),
    split: fc.constantFrom('type', 'state'),
    sort: fc.option(
      fc.record({
        column: fc.constantFrom('date', 'type', 'state', 'count'),
        isDescending: fc.boolean(),
      }),
      { nil: undefined },
    ),
    text: fc.string({ unit: 'grapheme' }),
    rows: fc.constantFrom('day', 'range'),
    isLive: fc.boolean(),
    failureWords: fc.uniqueArray(
      fc.stringMatching(/^[a-z é&=%]*[a-z]$/).map((word) => word.trim()),
    ),
  });

  it('holds all of a view', () => {
    fc.assert(
      fc.property(views, (view) => {
        expect(readView(writeView(view as typeof defaultView))).toEqual(view);
      }),
    );
  });

  it('that makes no sense shows what is shown without it', () => {
    for (const search of ['?from=2026-01-01', '?from=2026-02-01&to=2026-01-01', '?range=9']) {
      expect(readView(search)).toEqual(defaultView);
    }
    expect(readView('?from=2024-01-01&to=2026-01-01&sort=x&rows=y')).toEqual(defaultView);
    expect(writeView(defaultView)).toBe('');
  });

  it('leaves out the names that no event can have, by the rule of the server', () => {
    const some = fc.string({ unit: 'binary', maxLength: 140 });
    const odd = fc.constantFrom('', ' ', 'a ', '\u0085b', 'a\u0001', 'x'.repeat(129), '\ud800');
    fc.assert(
      fc.property(fc.oneof(some, odd), (name) => {
        expect(isName(name)).toBe(nameError('type', name) === undefined);
      }),
    );
    const view = readView(`?type=&type=a&state=%01&state=b%20&state=${'c'.repeat(200)}`);
    expect([view.types, view.states]).toEqual([['a'], []]);
  });

  it('holds no more names than a request can', () => {
    const query = new URLSearchParams();
    for (let n = 0; n < 150; n++) query.append('type', `é${n}`.padEnd(120, 'x'));
    for (let n = 0; n < 150; n++) query.append('state', `s${n}`);
    const view = readView(`?${query.toString()}`);
    expect(view.types.length).toBeGreaterThan(40);
    expect(writeView(view).length).toBeLessThan(6_100);
    expect(readView(`?${query.toString().replaceAll('x', '')}`).types).toHaveLength(100);
  });

  const daysOn = (today: string, latest = today) => ({ today, latest });

  it('with a preset ends on a day that has counts already, and begins with today all the same', () => {
    const view = readView('?range=today');
    const range = rangeOf(view, daysOn('2026-03-02', '2026-03-03'));
    expect(range).toEqual({ from: '2026-03-02', to: '2026-03-03' });
    for (const latest of ['2026-03-02', '2026-03-03', '2026-03-04']) {
      const year = rangeOf(readView('?range=365'), daysOn('2026-03-02', latest));
      expect(year.to).toBe(latest);
      expect(countDays(year)).toBeLessThanOrEqual(rangeDaysMax);
    }
  });

  it('with a preset moves with today', () => {
    const range = rangeOf(readView('?range=7'), daysOn('2026-03-02'));
    expect(range).toEqual({ from: '2026-02-24', to: '2026-03-02' });
    expect(countDays(rangeOf(readView('?range=365'), daysOn('2026-03-02')))).toBeLessThan(
      rangeDaysMax,
    );
  });

  it('of the counters names the filters one by one', () => {
    const filters = { types: ['a&b', 'c'], states: ['=d'] };
    expect(statsQuery({ from: '2026-01-01', to: '2026-01-02' }, filters, 'date,type')).toBe(
      'stats?from=2026-01-01&to=2026-01-02&type=a%26b&type=c&state=%3Dd&group_by=date%2Ctype',
    );
  });
});

describe('today', () => {
  const now = Date.parse('2026-11-28T20:30:00Z');

  it('is that of the day rule of the pipeline', () => {
    const zones = ['UTC', 'Pacific/Auckland', 'America/Los_Angeles'];
    expect(zones.map((zone) => todayIn(zone, now))).toEqual([
      '2026-11-28',
      '2026-11-29',
      '2026-11-28',
    ]);
    expect(todayIn('UTC', Date.parse('2026-11-29T00:00:00Z'))).toBe('2026-11-29');
  });

  it('is that of the viewer where items count as written, or the browser knows no such zone', () => {
    const local = new Date(now);
    const text = [local.getFullYear(), local.getMonth() + 1, local.getDate()]
      .map((part) => String(part).padStart(2, '0'))
      .join('-');
    expect([todayIn('as-written', now), todayIn('Mars/Olympus_Mons', now)]).toEqual([text, text]);
  });

  it('is looked beyond as far as it is today anywhere, and no further', () => {
    expect(aheadPath('2026-11-28', now)).toBe('stats?from=2026-11-29&to=2026-11-29&group_by=date');
    expect(aheadPath('2026-11-27', now)).toContain('from=2026-11-28&to=2026-11-29');
    expect(aheadPath('2026-11-29', now)).toBeUndefined();
  });

  it('is named with what a day is', () => {
    expect(dayRuleText('as-written')).toBe('Days as written in the timestamps');
    expect(dayRuleText('Europe/Berlin')).toBe('Days in Europe/Berlin');
  });
});

describe('the counts', () => {
  it('of the top names and the others are together the counts of each day', () => {
    const range = { from: '2026-01-01', to: '2026-12-31' };
    const row = fc.record({
      date: fc.constantFrom(...daysOf(range).slice(0, 200)),
      name: fc.stringMatching(/^[a-z]$/),
      count: fc.nat(1_000_000),
    });
    fc.assert(
      fc.property(fc.array(row), fc.integer({ min: 1, max: 9 }), (rows, max) => {
        const buckets = bucketsOf(range);
        const daily = sumBy(rows, ({ date }) => date);
        const sums = sumBy(rows, ({ name }) => name);
        const series = seriesOf(buckets, rows, daily, sums, max);
        buckets.forEach(({ from, to }, index) => {
          const expected = rows.filter(({ date }) => date >= from && date <= to);
          expect(series.reduce((sum, { values }) => sum + (values[index] ?? 0), 0)).toBe(
            expected.reduce((sum, { count }) => sum + count, 0),
          );
        });
        expect(series.reduce((sum, { names }) => sum + names, 0)).toBe(sums.size);
      }),
    );
  });

  it('name the largest first, and equal ones by name', () => {
    const sums = new Map(Object.entries({ b: 1, a: 1, c: 5, d: 0 }));
    expect(topNames(sums, 3)).toEqual(['c', 'a', 'b']);
  });

  it('stand alone where no line can lead to them', () => {
    const rates = [0.5, null, 0, 0.1, null, null, 0.2];
    expect(rates.map((_, index) => standsAlone(rates, index))).toEqual([
      ...[true, false, false, false, false, false, true],
    ]);
    expect(standsAlone([1], 0)).toBe(true);
  });

  it('change against nothing is no percentage', () => {
    expect(changeText(5, 0)).toBe('New: none before');
    expect(changeText(0, 0)).toBe('No change');
    expect(changeText(0, 7)).toBe('−100%');
    expect(changeText(7, 4)).toBe('+75%');
    expect(changeText(100_001, 100_000)).toBe('+0%');
    expect([shareText(0, 0), shareText(1, 3)]).toEqual(['–', '33.33%']);
  });

  it('of type and state have the others at the end', () => {
    const pairs = ['a', 'b', 'c'].flatMap((type, index) =>
      ['x', 'y'].map((state) => ({ type, state, count: 10 ** (3 - index) })),
    );
    expect(heatMapOf(pairs, 1, 2)).toEqual({
      types: ['a', undefined],
      states: ['x', 'y'],
      cells: [
        [1000, 1000],
        [110, 110],
      ],
      largest: 1000,
    });
    expect(heatMapOf([], 1, 1)).toEqual({ types: [], states: [], cells: [], largest: 0 });
  });

  it('are of failures by the words of the setting, in whatever case', () => {
    expect(isFailure('Erasure FAILED', ['fail'])).toBe(true);
    expect(isFailure('erased', ['fail', 'error'])).toBe(false);
    expect(isFailure('erased', [])).toBe(false);
  });
});

describe('the table', () => {
  const rows = [
    { date: '2026-01-01', type: 'b', state: 'X', count: 1 },
    { date: '2026-01-02', type: 'a', state: 'y', count: 9 },
    { date: '2026-01-03', type: 'a', state: 'x', count: 1 },
  ];
  it('sorts by a column, equal rows as before', () => {
    const counts = (sort: (typeof defaultView)['sort']) =>
      sorted(rows, sort)
        .map(({ date }) => date?.at(-1))
        .join('');
    expect(counts(undefined)).toBe('123');
    expect(counts({ column: 'count', isDescending: true })).toBe('213');
    expect(counts({ column: 'type', isDescending: false })).toBe('231');
  });

  it('shows the rows with a text', () => {
    expect(matching(rows, ' x ')).toEqual([rows[0], rows[2]]);
    expect(matching(rows, '01-02')).toEqual([rows[1]]);
  });
});

describe('colours', () => {
  it('are a name’s own, of different names different, and red for failures', () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    expect(names).toHaveLength(seriesMax);
    for (const scheme of ['light', 'dark'] as const) {
      const all = [...coloursOf(names, () => false, scheme).values(), colourOfOthers(scheme)];
      expect(new Set(all).size).toBe(seriesMax + 1);
    }
    const failing = ['it failed', 'failed too', 'a failure'];
    const isFailing = (name: string) => name.includes('fail');
    const both = [...names.slice(0, 5), ...failing];
    const colours = coloursOf(both, isFailing, 'light');
    expect(new Set(colours.values()).size).toBe(both.length);
    expect(coloursOf(both.toReversed(), isFailing, 'light')).toEqual(colours);
    expect(coloursOf(['failed'], isFailing, 'dark').get('failed')).toBe(colourOfFailures('dark'));
    expect(failing.map((name) => colours.get(name))).toContain(colourOfFailures('light'));
  });
});

describe('the health', () => {
  it('may lack members', () => {
    expect(readHealth({ status: 'ready' })).toEqual({ kind: 'ready' });
    expect(
      readHealth({
        pending_messages: 3,
        dead_letters: 1,
        last_received_at: '1970-01-01T00:00:01Z',
      }),
    ).toEqual({
      kind: 'ready',
      pending: { amount: 3, unit: 'messages' },
      deadLetters: 1,
      lastReceivedAt: 1000,
    });
  });

  it('has the lag of the archive, and whether it can be reached', () => {
    const archive = { mode: 'async', lag_bytes: 3, lag_seconds: 2.5 };
    expect(readHealth({ archive })).toMatchObject({
      archive: { lagSeconds: 2.5, isReachable: true },
    });
    expect(readHealth({ archive: { ...archive, problem: 'It is away.' } })).toMatchObject({
      archive: { lagSeconds: 2.5, isReachable: false },
    });
  });

  it('tells how long ago', () => {
    const told = [0, 59, 61, 7200, 90_000, 200_000].map((ago) => agoText(0, ago * 1000));
    expect(told).toEqual([
      ...['0 s ago', '59 s ago', '1 min ago', '2 h ago', 'a day ago', '2 days ago'],
    ]);
  });
});
