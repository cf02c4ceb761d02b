import { describe, expect, it } from 'vitest';

import { namedDay } from '../../../src/dashboard/data/calendar/date-text.ts';
import { addDays, type Range } from '../../../src/dashboard/data/calendar/days.ts';
import { findingsOf, type Finding } from '../../../src/dashboard/data/unusual/findings.ts';
import { historyOf, windowOf } from '../../../src/dashboard/data/unusual/history.ts';
import { judgeCount, judgeRate, medianOf } from '../../../src/dashboard/data/unusual/unusual.ts';
import {
  daysInReview,
  statementOf,
  summaryOf,
  summaryText,
} from '../../../src/dashboard/data/unusual/words.ts';

/** The last day that is over is a Friday. */
const today = '2026-11-07';
const range = { from: '2026-10-09', to: today };
const isFailing = (state: string) => state.includes('failed');

interface Planted {
  readonly days: Range;
  readonly type?: string;
  readonly state?: string;
  readonly factor: number;
}

/** A year of weekdays with the same small swing in each, and what is planted in it. */
function rowsOf(planted: readonly Planted[], firstDay = '2026-01-01') {
  const types = { laptop: 500, SSD: 100, 'hard drive': 120 };
  const states = { erased: 1, 'erasure failed': 0.01, 'test failed': 0.015 };
  const rows: { date: string; type: string; state: string; count: number }[] = [];
  for (let date = firstDay; date <= today; date = addDays(date, 1)) {
    const weekday = new Date(date).getUTCDay();
    const swing = 1 + ((Date.parse(date) / 86_400_000) % 5) / 50;
    for (const [type, devices] of Object.entries(types)) {
      for (const [state, share] of Object.entries(states)) {
        const factor = planted
          .filter(({ days }) => date >= days.from && date <= days.to)
          .filter((each) => (each.type ?? type) === type && (each.state ?? state) === state)
          .reduce((product, each) => product * each.factor, weekday % 6 === 0 ? 0 : 1);
        const count = Math.round(devices * share * swing * factor);
        if (count > 0) rows.push({ date, type, state, count });
      }
    }
  }
  return rows;
}

function historyWith(planted: readonly Planted[], firstDay?: string, shown = range) {
  return historyOf(windowOf(shown), rowsOf(planted, firstDay), isFailing);
}

const found = (planted: readonly Planted[], firstDay?: string) =>
  findingsOf(historyWith(planted, firstDay), range, today);
const said = (finding: Finding | undefined) => {
  if (finding === undefined) return '';
  const { what, numbers, causes } = statementOf(finding, false);
  return `${what} ${numbers}${causes === '' ? '' : `; ${causes}`}`.replaceAll(
    /[\u2068\u2069]/g,
    '',
  );
};
const badDrives = (days: Range) =>
  ['SSD', 'hard drive'].map((type, at) => {
    return { days, type, state: 'erasure failed', factor: at === 0 ? 9 : 5 };
  });

describe('a planted week', () => {
  it('of failures is found with its state, its types and its first day', () => {
    const findings = found(badDrives({ from: '2026-11-02', to: '2026-11-06' }));
    expect(findings.map(said)).toEqual([
      `“erasure failed”: 2.6% of all events since ${namedDay('2026-11-02')}, usually 0.9%; SSD 8.1% of its events, usually 0.9%; hard drive 4.5%, usually 0.8%`,
    ]);
    const ofDrives = findings[0] && statementOf(findings[0], true).numbers;
    expect(ofDrives).toContain('2.6% of the events of these types');
    expect(findings[0]).toMatchObject({
      ...{ measure: 'failures', state: 'erasure failed', isAbove: true, isOngoing: true },
      range: { from: '2026-11-02', to: '2026-11-06' },
    });
  });

  it('that is over has its last day, too', () => {
    const [finding] = found(badDrives({ from: '2026-10-19', to: '2026-10-23' }));
    expect(finding?.isOngoing).toBe(false);
    expect(said(finding)).toContain(
      `from ${namedDay('2026-10-19')} to ${namedDay('2026-10-23')}, usually 0.9%`,
    );
  });

  it('is named with its first day though a shorter range is shown', () => {
    const planted = badDrives({ from: '2026-11-02', to: '2026-11-06' });
    const shown = (from: string, to: string) => {
      const own = { from, to };
      return findingsOf(historyWith(planted, undefined, own), own, today).map(said);
    };
    const since = expect.stringContaining(`since ${namedDay('2026-11-02')}`) as string;
    expect(shown('2026-11-06', '2026-11-06')).toEqual([since]);
    // What lasts until yesterday matters today, too.
    expect(shown(today, today)).toEqual([since]);
    expect(shown('2026-10-20', '2026-11-01')).toEqual([]);
  });

  it('of one day is named by the day', () => {
    const friday = { from: '2026-11-06', to: '2026-11-06' };
    expect(found(badDrives(friday)).map(said)).toEqual([
      expect.stringContaining(`of all events on ${namedDay('2026-11-06')}, usually 0.9%; SSD`),
    ]);
  });

  it('of failures in all states names no state', () => {
    const days = { from: '2026-11-05', to: '2026-11-06' };
    const states = ['erasure failed', 'test failed'].map((state) => ({
      days,
      state,
      factor: 2.1,
    }));
    expect(found(states).map(said)).toEqual([
      expect.stringMatching(/^Failures: 5\.\d% of all events/),
    ]);
  });

  it('of a type alone is found though the whole is usual', () => {
    const days = { from: '2026-11-04', to: '2026-11-06' };
    const findings = found([{ days, type: 'SSD', state: 'erased', factor: 0.1 }]);
    expect(findings.map(said)).toContainEqual(
      expect.stringMatching(/^Events of SSD: 1\d a day since/),
    );
  });

  it('of few events is found, and one without any', () => {
    const days = { from: '2026-11-04', to: '2026-11-06' };
    expect(found([{ days, factor: 0.5 }]).map(said)).toEqual([
      expect.stringMatching(/^Events: 3\d\d a day since .*4.*, usually 7\d\d$/),
    ]);
    expect(found([{ days, factor: 0 }]).map(said)).toEqual([
      expect.stringMatching(/^Events: 0 a day since .*4.*, usually 7\d\d$/),
    ]);
  });

  it('does not make the weeks after it unusual', () => {
    const days = { from: '2026-09-28', to: '2026-10-02' };
    expect(found(badDrives(days))).toEqual([]);
  });

  it('goes on over a weekend without events', () => {
    const [finding, ...more] = found(badDrives({ from: '2026-10-29', to: '2026-11-06' }));
    expect(more).toEqual([]);
    expect(finding?.range).toEqual({ from: '2026-10-29', to: '2026-11-06' });
  });
});

describe('nothing unusual', () => {
  it('is found in usual weeks, or in a day that is not over', () => {
    expect(found([])).toEqual([]);
    expect(found([{ days: { from: today, to: today }, factor: 9 }])).toEqual([]);
  });

  it('is found where there are fewer than four same weekdays before', () => {
    const planted = badDrives({ from: '2026-11-02', to: '2026-11-06' });
    expect(found(planted, '2026-10-12')).toEqual([]);
    expect(found(planted, '2026-10-05')).toHaveLength(1);
  });

  it('is rare in noise', () => {
    let seed = 11;
    const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
    const noise = () => random() + random() + random() - 1.5;
    const counts = Array.from({ length: 2000 }, () => 1000 + 100 * noise());
    const failed = counts.map((count) => 0.015 * count + Math.sqrt(15) * 2 * noise());
    const days = Array.from({ length: 1900 }, (_, day) => day + 100);
    const unusual = (judge: (day: number) => { kind: string }) =>
      days.filter((day) => judge(day).kind === 'unusual').length;
    expect(unusual((day) => judgeCount(counts, day, 0))).toBeLessThan(5);
    expect(unusual((day) => judgeRate(failed, counts, day, 0))).toBeLessThan(5);
  });
});

describe('the rule', () => {
  const weeks = (values: readonly number[]) => values.flatMap((value) => [value, 0, 0, 0, 0, 0, 0]);

  it('takes the median and the spread of the same weekdays only', () => {
    const counts = weeks([100, 104, 96, 100, 108, 92, 100, 104, 300]);
    expect(judgeCount(counts, 56, 0)).toEqual({
      ...{ kind: 'unusual', sign: 1, value: 300, median: 100, spread: 4 },
    });
    expect([medianOf([]), medianOf([3]), medianOf([4, 1]), medianOf([9, 1, 2])]).toEqual([
      ...[0, 3, 2.5, 2],
    ]);
  });

  it('needs more than five spreads, a quarter, and more than chance', () => {
    const judge = (values: readonly number[], value: number) =>
      judgeCount(weeks([...values, value]), 7 * values.length, 0).kind;
    const steady = [1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000];
    expect([judge(steady, 1249), judge(steady, 1251)]).toEqual(['raised', 'unusual']);
    const wide = [800, 1200, 800, 1200, 800, 1200, 800, 1200];
    expect([judge(wide, 1990), judge(wide, 2010)]).toEqual(['raised', 'unusual']);
    const few = [4, 4, 4, 4, 4, 4, 4, 4];
    expect([judge(few, 8), judge(few, 13)]).toEqual(['unclear', 'unusual']);
  });
});

describe('a day in words', () => {
  it('has its numbers and the usual ones', () => {
    const history = historyWith([]);
    const over = summaryOf(history, '2026-11-06');
    const text = over && summaryText(over, true);
    expect(text).toMatch(
      /^7\d\d events, usually 7\d\d; failures of any kind 2\.\d%, usually 2\.\d%$/,
    );
    const now = summaryOf(history, '2026-11-05');
    expect(now && summaryText(now, false)).toContain('on a whole day');
    expect(summaryOf(history, '2026-01-01')).toBeUndefined();
  });

  it('is the latest that is over, and today if it is shown', () => {
    expect(daysInReview(range, today)).toEqual({ over: '2026-11-06', soFar: true });
    expect(daysInReview({ from: today, to: today }, today)).toEqual({
      over: undefined,
      soFar: true,
    });
    const earlier = { from: '2026-05-01', to: '2026-05-31' };
    expect(daysInReview(earlier, today)).toEqual({ over: '2026-05-31', soFar: false });
  });
});
