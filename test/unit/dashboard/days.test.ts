import { describe, expect, it } from 'vitest';

import { bucketsOf } from '../../../src/dashboard/data/calendar/buckets.ts';
import { dateTexts, knownLocale } from '../../../src/dashboard/data/calendar/date-text.ts';
import {
  countDays,
  dayRuleText,
  daysOf,
  isDay,
  todayIn,
} from '../../../src/dashboard/data/calendar/days.ts';
import { presetRange, previousRange } from '../../../src/dashboard/data/calendar/periods.ts';
import { aheadPath } from '../../../src/dashboard/state/load.ts';

describe('the days', () => {
  const today = '2026-11-29';

  it('before a range are as many, whole weeks before', () => {
    expect(previousRange({ from: '2026-03-02', to: '2026-03-02' }, today)).toEqual({
      from: '2026-02-23',
      to: '2026-02-23',
    });
    expect(previousRange({ from: '2024-03-01', to: '2024-03-09' }, today)).toEqual({
      from: '2024-02-16',
      to: '2024-02-24',
    });
    // A year has a day more than 52 weeks, and would meet itself.
    expect(previousRange({ from: '2025-12-01', to: '2026-11-30' }, today)).toEqual({
      from: '2024-11-25',
      to: '2025-11-24',
    });
    expect(previousRange({ from: '0001-01-02', to: '0001-12-31' }, today)).toBeUndefined();
  });

  it('before a month or a year are the month or the year before', () => {
    const before = (from: string, to: string) => previousRange({ from, to }, today);
    const october = { from: '2026-10-01', to: '2026-10-31' };
    expect(before('2026-11-01', '2026-11-30')).toEqual(october);
    expect(before('2026-11-01', today)).toEqual(october);
    expect(before('2026-11-01', '2026-11-07')).toEqual({ from: '2026-10-25', to: '2026-10-31' });
    expect(before('2026-01-01', today)).toEqual({ from: '2025-01-01', to: '2025-12-31' });
  });

  it('before the last 30 days are whole weeks before, also on the 30th', () => {
    const november = { from: '2026-11-01', to: '2026-11-30' };
    expect(previousRange(november, '2026-11-30', '30')?.from).toBe('2026-09-27');
    expect(previousRange(november, '2026-11-30', 'month')?.from).toBe('2026-10-01');
  });

  it('of presets are those of the calendar', () => {
    const range = (name: Parameters<typeof presetRange>[0]) =>
      presetRange(name, { today, latest: today });
    expect(range('yesterday')).toEqual({ from: '2026-11-28', to: '2026-11-28' });
    expect(range('week')).toEqual({ from: '2026-11-23', to: today });
    expect(range('month')).toEqual({ from: '2026-11-01', to: today });
    expect(range('last-month')).toEqual({ from: '2026-10-01', to: '2026-10-31' });
    expect(range('year')).toEqual({ from: '2026-01-01', to: today });
    const monday = { today: '2026-11-30', latest: '2026-11-30' };
    expect(presetRange('week', monday).from).toBe('2026-11-30');
  });

  it('are written as the reader writes them', () => {
    const of = (locale: string) => {
      const texts = dateTexts(locale);
      const range = texts.range({ from: '2026-11-06', to: '2026-11-09' });
      // ICU puts thin spaces around its dashes.
      return [texts.long('2026-11-06'), range.replaceAll(/\s/g, ' ')];
    };
    expect(of('en-GB')).toEqual(['6 Nov 2026', '6 – 9 Nov 2026']);
    expect(of('en-US')).toEqual(['Nov 6, 2026', 'Nov 6 – 9, 2026']);
    expect(of('de-DE')).toEqual(['6. Nov. 2026', '6.–9. Nov. 2026']);
    expect(of('ja-JP')).toEqual(['2026年11月6日', '2026年11月6日 – 2026年11月9日']);
    expect(['de-at', 'en-US@posix'].map(knownLocale)).toEqual(['de-AT', 'en-GB']);
    expect(dateTexts('ar-EG').long('2026-11-06')).toContain('2026');
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

  it('are in months if the reader wants them, each day in one of them', () => {
    const range = { from: '2026-01-15', to: '2026-03-02' };
    const buckets = bucketsOf(range, 'month');
    expect(buckets.map(({ from, to }) => [from, to])).toEqual([
      ['2026-01-15', '2026-01-31'],
      ['2026-02-01', '2026-02-28'],
      ['2026-03-01', '2026-03-02'],
    ]);
    expect(buckets.map(({ isCut }) => isCut)).toEqual([true, false, true]);
    expect(bucketsOf(range, 'week').map(({ isCut }) => isCut)).toEqual([
      ...[true, false, false, false, false, false, false, true],
    ]);
    expect(bucketsOf(range, 'day').some(({ isCut }) => isCut)).toBe(false);
    expect(bucketsOf(range, 'day')).toHaveLength(47);
    const last = { from: '9999-12-30', to: '9999-12-31' };
    for (const unit of ['day', 'week', 'month'] as const) {
      expect(bucketsOf(last, unit).at(-1)?.to).toBe(last.to);
    }
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
