import { describe, expect, it } from 'vitest';

import { daysOf, weekdayOf } from '../../../src/dashboard/data/calendar/days.ts';
import {
  areAlike,
  compare,
  comparedRanges,
  dataStart,
  movedTo,
  sumWithin,
  workdaysIn,
} from '../../../src/dashboard/data/comparison.ts';

const today = '2026-11-29';
const totals = (events: number) => ({ events, failed: 1, whole: events });

describe('a comparison', () => {
  it('is with as many days, whole weeks before, without the one that is not over', () => {
    const compared = comparedRanges({ from: '2026-10-31', to: today }, today);
    expect(compared).toEqual({
      now: { from: '2026-10-31', to: '2026-11-28' },
      before: { from: '2026-09-26', to: '2026-10-24' },
      isCut: true,
    });
    expect(comparedRanges({ from: '2026-10-30', to: '2026-11-28' }, today)).toEqual({
      now: { from: '2026-10-30', to: '2026-11-28' },
      before: { from: '2026-09-25', to: '2026-10-24' },
      isCut: false,
    });
  });

  it('of this month is with the same days of the month before', () => {
    const march = { from: '2026-03-01', to: '2026-03-31' };
    const compared = comparedRanges(march, '2026-03-31');
    // February has no 30th day.
    expect(compared?.before).toEqual({ from: '2026-02-01', to: '2026-02-28' });
    expect(comparedRanges(march, '2026-03-10')?.before).toEqual({
      ...{ from: '2026-02-01', to: '2026-02-09' },
    });
  });

  it('of today alone there is none, nor before the first day', () => {
    expect(comparedRanges({ from: today, to: today }, today)).toBeUndefined();
    expect(comparedRanges({ from: '0001-01-01', to: '0001-01-02' }, today)).toBeUndefined();
  });

  it('is not made with days before the data', () => {
    const compared = comparedRanges({ from: '2026-10-30', to: '2026-11-28' }, today);
    if (compared === undefined) throw new Error('no days to compare');
    const startAt = (firstDay: string) => ({ firstDay, hasOlder: false });
    expect(compare(compared, totals(5), totals(1), startAt('2026-10-24'))).toEqual({
      ...{ kind: 'no data', firstDay: '2026-10-24', hasOlder: false },
    });
    for (const start of [undefined, startAt('2026-09-25')]) {
      expect(compare(compared, totals(5), totals(4), start)).toMatchObject({
        kind: 'known',
        now: { from: '2026-10-30', to: '2026-11-28' },
        before: { from: '2026-09-25', to: '2026-10-24' },
        events: { now: 5, before: 4 },
      });
    }
  });

  it('lays the days before over those that they stand for, and no zeros beyond them', () => {
    const march = { from: '2026-03-01', to: '2026-03-31' };
    const february = { from: '2026-02-01', to: '2026-02-28' };
    const daily = new Map([
      ['2026-02-01', 4],
      ['2026-02-28', 6],
    ]);
    const moved = movedTo({ now: march, before: february }, daily);
    expect(moved.size).toBe(28);
    expect([moved.get('2026-03-01'), moved.get('2026-03-02'), moved.get('2026-03-28')]).toEqual([
      ...[4, 0, 6],
    ]);
    expect(moved.has('2026-03-29')).toBe(false);
    expect(areAlike(march, february)).toBe(false);
    expect(areAlike(march, { from: '2026-05-01', to: '2026-05-31' })).toBe(false);
    expect(areAlike(february, { from: '2026-03-01', to: '2026-03-28' })).toBe(true);
  });

  describe('knows where regular data begin', () => {
    const days = (from: string, to: string, count = 100) =>
      daysOf({ from, to })
        .filter((day) => weekdayOf(day) <= 5)
        .map((date) => ({ date, count }));
    const line = days('2026-10-12', '2026-11-27');

    it('on their first day if there are no others', () => {
      expect(dataStart(line)).toEqual({ firstDay: '2026-10-12', hasOlder: false });
      expect(dataStart([])).toBeUndefined();
    });

    it('not with single events of wrong clocks, near or far, few or many', () => {
      const expected = { firstDay: '2026-10-12', hasOlder: true };
      for (const date of ['2026-09-05', '2026-10-02', '2026-10-08']) {
        expect(dataStart([{ date, count: 1 }, ...line]), date).toEqual(expected);
      }
      for (const date of ['2026-09-05', '2026-10-02']) {
        expect(dataStart([{ date, count: 100 }, ...line]), date).toEqual(expected);
      }
      expect(dataStart([...days('2026-09-28', '2026-10-09', 0.5), ...line])).toEqual(expected);
    });

    it('not with a trial weeks before, but with what is before a rest', () => {
      const trial = days('2026-08-03', '2026-08-14');
      expect(dataStart([...trial, ...line])?.firstDay).toBe('2026-10-12');
      const rested = days('2026-08-03', '2026-09-18');
      expect(dataStart([...rested, ...line])?.firstDay).toBe('2026-08-03');
    });

    it('also of a line that works on one day of the week', () => {
      const mondays = line.filter(({ date }) => weekdayOf(date) === 1);
      expect(dataStart(mondays)).toEqual({ firstDay: '2026-10-12', hasOlder: false });
    });
  });

  it('can say how many working days each has', () => {
    expect(workdaysIn({ from: '2026-11-01', to: '2026-11-29' })).toBe(20);
    expect(workdaysIn({ from: '2026-10-01', to: '2026-10-29' })).toBe(21);
  });

  it('sums the days of a range only', () => {
    const daily = new Map([
      ['2026-01-01', 1],
      ['2026-01-02', 2],
      ['2026-01-03', 4],
    ]);
    expect(sumWithin(daily, { from: '2026-01-02', to: '2026-01-03' })).toBe(6);
  });
});
