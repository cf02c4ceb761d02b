import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { countDays, rangeDaysMax } from '../../../src/dashboard/data/calendar/days.ts';
import {
  defaultView,
  isName,
  rangeOf,
  readView,
  statsQuery,
  writeView,
} from '../../../src/dashboard/data/view.ts';
import { nameError } from '../../../src/domain/device-event.ts';

describe('the URL', () => {
  const words = fc.string({ unit: 'grapheme', minLength: 1 }).filter(isName);
  const day = fc
    .date({ min: new Date('1990-01-01'), max: new Date('2100-01-01'), noInvalidDate: true })
    .map((date) => date.toISOString().slice(0, 10));
  const views = fc.record({
    range: fc.oneof(
      fc
        .constantFrom('today', '7', '30', '90', '365', 'yesterday', 'last-month')
        .map((preset) => ({ preset })),
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
    unit: fc.constantFrom('day', 'week', 'month', undefined),
    hasBefore: fc.boolean(),
    heat: fc.constantFrom(undefined, 'count', 'share', 'rate'),
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
