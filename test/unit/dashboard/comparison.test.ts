import { describe, expect, it } from 'vitest';

import {
  compare,
  comparedRanges,
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
    expect(compare(compared, totals(5), totals(1), '2026-10-24')).toEqual({
      ...{ kind: 'no data', firstDay: '2026-10-24' },
    });
    for (const first of [undefined, '2026-09-25']) {
      expect(compare(compared, totals(5), totals(4), first)).toMatchObject({
        kind: 'known',
        now: { from: '2026-10-30', to: '2026-11-28' },
        before: { from: '2026-09-25', to: '2026-10-24' },
        events: { now: 5, before: 4 },
      });
    }
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
