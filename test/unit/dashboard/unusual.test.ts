import { describe, expect, it } from 'vitest';

import { namedDay } from '../../../src/dashboard/data/calendar/date-text.ts';
import { addDays } from '../../../src/dashboard/data/calendar/days.ts';
import { historyOf, judgedFrom, windowOf } from '../../../src/dashboard/data/unusual/history.ts';
import { daysInReview, summaryOf, summaryText } from '../../../src/dashboard/data/unusual/words.ts';
import { rowsOf, saidOf, thirtyDays, today, type Planted } from '../../support/planted-weeks.ts';
import { rounds } from '../../support/run/tier.ts';

const on = (day: string) => `on ${namedDay(day)}`;
const since = (day: string) => `since ${namedDay(day)}`;
const fromTo = (from: string, to: string) => `from ${namedDay(from)} to ${namedDay(to)}`;
const year = { from: '2025-12-01', to: today };

/** More failed erasures of a type, or of all, on some days. */
const erasures =
  (factor: number, from: string, to: string = today, only?: string): Planted =>
  (day, type, state) =>
    state === 'erasure failed' && day >= from && day <= to && (only ?? type) === type ? factor : 1;

const volume =
  (factor: number, from: string, to: string = today, only?: string): Planted =>
  (day, type) =>
    day >= from && day <= to && (only ?? type) === type ? factor : 1;

/** Both on the same days, in the same state or in another one. */
const both =
  (a: Planted, b: Planted): Planted =>
  (...one) =>
    a(...one) * b(...one);

describe('a planted week of failures', () => {
  it('of two types is said with the state, both types and the first day', () => {
    const planted = both(
      erasures(11, '2026-11-23', today, 'SSD'),
      erasures(7, '2026-11-23', today, 'hard drive'),
    );
    const numbers = `${since('2026-11-23')}, usually 0.7%; SSD 7.5% of its events, usually 0.7%; hard drive 5.7%, usually 0.6%`;
    expect(saidOf({ seed: 77, planted })).toEqual([
      `“erasure failed”: 2.8% of all events ${numbers}`,
    ]);
    // A click on it shows these types.
    expect(saidOf({ seed: 77, planted }, thirtyDays, ['SSD', 'hard drive'])).toEqual([
      `“erasure failed”: 6.7% of the events of these types ${numbers.replace('0.7%;', '0.6%;')}`,
    ]);
  });

  it('of one type has the days of that type', () => {
    const planted = erasures(9, '2026-11-16', '2026-11-20', 'SSD');
    const said = `“erasure failed” of SSD: 7.0% of its events ${fromTo('2026-11-16', '2026-11-20')}, usually 0.6%`;
    expect(saidOf({ seed: 78, planted })).toEqual([said]);
    expect(saidOf({ seed: 78, planted }, { from: '2026-11-16', to: '2026-11-20' })).toEqual([said]);
    expect(saidOf({ seed: 78, planted }, thirtyDays, ['SSD'])).toEqual([said]);
  });

  it('of all types names the largest, and how many more', () => {
    const [said, ...more] = saidOf({ seed: 77, planted: erasures(5, '2026-11-16', '2026-11-20') });
    expect(said).toContain(
      `3.6% of all events ${fromTo('2026-11-16', '2026-11-20')}, usually 0.8%`,
    );
    expect(said).toMatch(
      /; laptop 4\.1% of its events, usually 0\.7%; .*; (and \d more|and others)$/,
    );
    expect(more).toEqual([]);
  });

  it('does not hide the failures of another type in another state', () => {
    const tests: Planted = (day, type, state) =>
      type === 'server' && state === 'test failed' && day === '2026-11-25' ? 45 : 1;
    const planted = both(erasures(9, '2026-11-23', today, 'SSD'), tests);
    expect(saidOf({ seed: 77, planted })).toEqual([
      `“erasure failed” of SSD: 6.5% of its events ${since('2026-11-23')}, usually 0.7%`,
      `“test failed” of server: 22% of its events ${on('2026-11-25')}, usually 0.5%`,
    ]);
  });

  it('is found in a small line, of which no day alone would be', () => {
    const types = { printer: 6, server: 3 };
    expect(saidOf({ seed: 77, types, planted: erasures(40, '2026-11-23') })).toEqual([
      `“erasure failed”: 24% of all events ${since('2026-11-23')}, usually 0.3%; printer 25% of its events, usually none; server 21%, usually 0.8%`,
    ]);
  });

  it('is found in a year, and is over', () => {
    const line = { seed: 77, from: '2025-10-01', planted: erasures(9, '2026-05-11', '2026-05-15') };
    const said = expect.stringContaining(
      `7.2% of all events ${fromTo('2026-05-11', '2026-05-15')}, usually 0.8%`,
    ) as string;
    expect(saidOf(line, year)).toEqual([said]);
    // Also if only some of its days are shown.
    expect(saidOf(line, { from: '2026-05-11', to: '2026-05-12' })).toEqual([said]);
    expect(saidOf(line, { from: '2026-05-18', to: '2026-07-31' })).toEqual([]);
  });
});

describe('a change that lasts', () => {
  it('is said with its first day for eight weeks', () => {
    const said = (factor: number, from: string) =>
      saidOf({ seed: 77, planted: erasures(factor, from) });
    expect(said(3, '2026-10-12')).toEqual([
      expect.stringContaining(
        `“erasure failed”: 2.5% of all events ${since('2026-10-12')}, usually 0.9%`,
      ),
    ]);
    expect(said(3, '2026-09-14')).toEqual([]);
    expect(saidOf({ seed: 77, planted: volume(1.6, '2026-10-05') })).toEqual([
      `Events: 966 a day ${since('2026-10-05')}, usually 601`,
    ]);
  });

  it('is said since its first day, whatever the weeks before that look like', () => {
    const wrong: string[] = [];
    for (let seed = 20; seed < 33; seed++) {
      const planted = erasures(5, '2026-11-05', today, 'laptop');
      const said = saidOf({ seed, planted, scale: 3 });
      const days = ['2026-11-04', '2026-11-05', '2026-11-06'].map(since);
      if (!days.some((day) => said[0]?.includes(day))) wrong.push(`${seed}: ${said.join(' · ')}`);
    }
    expect(wrong).toEqual([]);
  });

  it('for more than eight weeks is said if it began in the range', () => {
    const ninetyDays = { from: '2026-09-02', to: today };
    for (const first of ['2026-10-01', '2026-09-14']) {
      const failures = { seed: 77, scale: 3, from: '2026-03-01', planted: erasures(3, first) };
      expect(saidOf(failures)).toEqual([]);
      expect(saidOf(failures, ninetyDays)).toEqual([expect.stringContaining(since(first))]);
      const events = { ...failures, planted: volume(3, first) };
      expect(saidOf(events)).toEqual([]);
      expect(saidOf(events, ninetyDays)).toEqual([expect.stringContaining(since(first))]);
    }
  });

  it('for more than eight weeks hides nothing that comes later', () => {
    const sinceSeptember = erasures(3, '2026-09-14');
    const line = { scale: 3, from: '2026-03-01' };
    for (const seed of [1, 2, 3, 4]) {
      const worse = both(sinceSeptember, erasures(4, '2026-11-19'));
      expect(saidOf({ ...line, seed, planted: worse })[0]).toMatch(
        new RegExp(`^“erasure failed”: .* ${since('2026-11-19')}, usually 2`),
      );
      const outage = both(volume(3, '2026-09-14'), volume(0, '2026-11-10', '2026-11-12'));
      expect(saidOf({ ...line, seed, planted: outage })).toEqual([
        expect.stringContaining(`Events: 0 a day ${fromTo('2026-11-10', '2026-11-12')}`),
      ]);
    }
  });

  it('is hardly ever said to have ended by chance in a type', () => {
    const said = Array.from({ length: 15 }, (_, seed) =>
      saidOf({ seed, planted: erasures(3, '2026-09-14') }),
    );
    expect(said.filter(({ length }) => length > 0).length).toBeLessThanOrEqual(1);
  });

  it('of fewer events names the type that stopped', () => {
    expect(saidOf({ seed: 77, planted: volume(0, '2026-11-09', today, 'laptop') })).toEqual([
      `Events of laptop: 0 a day ${since('2026-11-09')}, usually 148`,
    ]);
  });

  it('of many types names them, in one statement, with numbers that go its way', () => {
    const small = ['tablet', 'desktop', 'server', 'printer', 'hard drive'];
    const change =
      (ofSmall: number, ofLarge: number): Planted =>
      (day, type) =>
        day < '2026-11-16' ? 1 : small.includes(type) ? ofSmall : ofLarge;
    const saidOf5 = (ofSmall: number, ofLarge: number) =>
      saidOf({ seed: 77, scale: 5, planted: change(ofSmall, ofLarge) });
    const from = since('2026-11-16');
    const more = 'hard drive [^;]+; desktop [^;]+; tablet [^;]+; server [^;]+; and 1 more';
    expect(saidOf5(2, 0.7)).toEqual([
      expect.stringMatching(`^Events of 5 types: 2,\\d+ a day ${from}, usually 1,\\d+; ${more}$`),
    ]);
    expect(saidOf5(0, 1)).toEqual([
      expect.stringMatching(`^Events: 1,\\d+ a day ${from}, usually 3,\\d+; .*tablet 0, usually`),
    ]);
    // The others change in the same way: it is a change of all.
    expect(saidOf5(2, 1.4)).toEqual([
      expect.stringMatching(`^Events: \\S+ a day ${from}, usually 3,\\d+$`),
    ]);
  });

  it('of one state is said if all events are usual', () => {
    const only =
      (name: string): Planted =>
      (day, _, state) =>
        state === name && day >= '2026-11-16' ? 0 : 1;
    expect(saidOf({ seed: 77, planted: only('shipped') })).toEqual([
      expect.stringContaining(`Events “shipped”: 0 a day ${since('2026-11-16')}, usually `),
    ]);
    // A third of all events has gone, which says as much.
    const [said] = saidOf({ seed: 77, planted: only('received') });
    expect(said).toBe(`Events: 383 a day ${since('2026-11-16')}, usually 605`);
  });

  it('of no more failures is said, too', () => {
    expect(saidOf({ seed: 77, planted: erasures(0, '2026-11-16') })).toEqual([
      `“erasure failed”: 0% of all events ${since('2026-11-16')}, usually 0.8%`,
    ]);
  });

  it('of a type with bad weeks before does not make it a new one', () => {
    const bad = ['SSD', 'hard drive', 'tablet'];
    const planted: Planted = (day, type, state) =>
      Math.max(
        ...bad.flatMap((only) => [
          erasures(6, '2026-10-19', '2026-10-25', only)(day, type, state),
          erasures(6, '2026-11-16', '2026-11-22', only)(day, type, state),
        ]),
      );
    const said = [42, 46, 55, 63].map((seed) => saidOf({ seed, planted }).join(' · '));
    for (const each of said) expect(each).toContain('“erasure failed”');
    expect(said.filter((each) => each.includes('new type'))).toEqual([]);
  });

  it('of a new type has no usual numbers', () => {
    const planted: Planted = (day, type, state) =>
      type !== 'server' ? 1 : day < '2026-11-16' ? 0 : state === 'erasure failed' ? 60 : 2;
    const events = `Events of server: 47 a day ${since('2026-11-16')}, usually none`;
    expect(saidOf({ seed: 77, planted })).toEqual([
      `“erasure failed”: 2.2% of all events ${since('2026-11-16')}, usually 0.8%; server 20% of its events, a new type`,
      events,
    ]);
    expect(saidOf({ seed: 77, planted }, thirtyDays, ['server'])).toEqual([events]);
  });
});

describe('single days', () => {
  it('are said: a holiday, and one with many events', () => {
    expect(saidOf({ seed: 77, planted: volume(0, '2026-11-26', '2026-11-26') })).toEqual([
      `Events: 0 ${on('2026-11-26')}, usually 809`,
    ]);
    expect(saidOf({ seed: 77, planted: volume(4, '2026-11-18', '2026-11-18') })).toEqual([
      `Events: 3,223 ${on('2026-11-18')}, usually 798`,
    ]);
  });

  it('are not among the usual ones of later weeks', () => {
    const rows = rowsOf({ seed: 77, planted: volume(4, '2026-11-19', '2026-11-19') });
    const history = historyOf(windowOf(thirtyDays, today), rows, () => false);
    // With the 3,200 of that Thursday, the mean would be 1,100.
    expect(summaryOf(history, '2026-11-26')?.events.usual).toBeLessThan(850);
  });

  it('are judged by the weeks before a long run that has just ended', () => {
    const surge = volume(2, '2026-10-12', '2026-11-13');
    const line = { seed: 77, from: '2026-01-01' };
    expect(saidOf({ ...line, planted: both(surge, volume(0, '2026-11-26')) })).toEqual([
      `Events: 0 a day ${since('2026-11-26')}, usually 453`,
      expect.stringMatching(
        `^Events: \\S+ a day ${fromTo('2026-10-12', '2026-11-13')}, usually \\d+$`,
      ),
    ]);
    const outage = volume(0, '2026-10-10', '2026-11-10');
    expect(saidOf({ ...line, planted: both(outage, volume(3, '2026-11-23')) })[0]).toMatch(
      new RegExp(`^Events: 1,8\\d\\d a day ${since('2026-11-23')}, usually 6\\d\\d$`),
    );
  });

  it('of a change of many weeks have its end, if that is known', () => {
    const ninetyDays = { from: '2026-09-02', to: today };
    const line = { seed: 77, scale: 3, from: '2026-01-01' };
    const ended = erasures(3, '2026-08-24', '2026-11-11');
    expect(saidOf({ ...line, planted: ended }, ninetyDays).join(' · ')).toContain(
      `${fromTo('2026-08-24', '2026-11-11')}, usually 0.8%`,
    );
    const past = { from: '2026-08-01', to: '2026-08-31' };
    expect(saidOf({ ...line, planted: erasures(3, '2026-08-10') }, past)).toEqual([
      expect.stringContaining(`from ${namedDay('2026-08-10')} on, usually 0.`),
    ]);
    const fifthWeek = { from: '2026-09-14', to: '2026-09-20' };
    expect(saidOf({ ...line, planted: erasures(3, '2026-08-10') }, fifthWeek)).toHaveLength(1);
    const tenthWeek = { from: '2026-10-19', to: '2026-10-25' };
    expect(saidOf({ ...line, planted: erasures(3, '2026-08-10') }, tenthWeek)).toEqual([]);
  });

  it('of a long outage are all in one statement', () => {
    const line = { seed: 77, from: '2026-03-01', planted: volume(0, '2026-10-13', '2026-11-15') };
    expect(saidOf(line)).toEqual([
      expect.stringMatching(
        `^Events: 0 a day ${fromTo('2026-10-13', '2026-11-15')}, usually \\d+$`,
      ),
    ]);
  });

  it('on which nothing is usual, say nothing of the types', () => {
    const isWeekend = (day: string) => [0, 6].includes(new Date(day).getUTCDay());
    const planted: Planted = (day) => (isWeekend(day) ? 5 : day < '2026-11-20' ? 0 : 1);
    const numbers = saidOf({ seed: 77, planted, saturday: 0.3 });
    expect(numbers.map((said) => said.replace(/^Events: [\d,]+( a day)? /, ''))).toEqual([
      `${on(today)} so far, usually none on a whole day`,
      `${fromTo('2026-11-23', '2026-11-27')}, usually none`,
      `${on('2026-11-20')}, usually none`,
    ]);
  });

  it('include today, if its failures or its events are already more than usual', () => {
    expect(saidOf({ seed: 77, planted: erasures(30, today) })).toEqual([
      expect.stringContaining(
        `“erasure failed”: 17% of all events ${on(today)} so far, usually 0.8%; `,
      ),
    ]);
    expect(saidOf({ seed: 77, planted: volume(12, today, today, 'phone') })).toEqual([
      `Events of phone: 671 ${on(today)} so far, usually 158 on a whole day`,
    ]);
    expect(saidOf({ seed: 77, planted: volume(0.1, today) })).toEqual([]);
  });
});

describe('nothing unusual', () => {
  it('is said of the first weeks after a trial, and after events with wrong clocks', () => {
    const live = rowsOf({ seed: 77, from: '2026-11-10' });
    const one = (date: string) => ({ date, type: 'phone', state: 'erased', count: 3 });
    for (const days of [
      ['2026-08-23', '2026-08-24'],
      ['2026-08-20', '2026-08-25', '2026-08-30'],
    ]) {
      const rows = [...days.map(one), ...live];
      const history = historyOf(windowOf(thirtyDays, today), rows, () => false);
      expect(judgedFrom(history)).toBe('2026-12-08');
    }
  });

  it('is said without four weeks of data', () => {
    const line = (from: string) => ({ seed: 77, from, planted: erasures(6, '2026-11-23') });
    expect(saidOf(line('2026-11-02'))).toEqual([]);
    expect(saidOf(line('2026-10-19'))).toHaveLength(1);
    const rows = rowsOf({ seed: 77, from: '2026-11-02' });
    const stray = { date: '2026-09-30', type: 'phone', state: 'erased', count: 1 };
    const history = historyOf(windowOf(thirtyDays, today), [stray, ...rows], () => false);
    expect(judgedFrom(history)).toBe('2026-11-30');
  });

  const pages = rounds({ what: 'pages of noise', quick: 2, nightly: 100 });
  it(`is said of nearly all pages of noise`, { timeout: 600_000 }, () => {
    const wrong: string[] = [];
    let all = 0;
    for (const saturday of [0, 0.2]) {
      for (const scale of [0.1, 0.3, 1, 3, 6]) {
        for (let seed = 1; seed <= pages; seed++, all++) {
          const said = saidOf({ seed: seed * 101, from: '2026-08-01', saturday, scale });
          if (said.length > 0) wrong.push(`${saturday} ${scale} ${seed}: ${said.join(' · ')}`);
        }
      }
    }
    expect(wrong.length / all, wrong.join('\n')).toBeLessThanOrEqual(0.02);
  });
});

describe('a day in words', () => {
  it('has its numbers and the usual ones', () => {
    const rows = rowsOf({ seed: 77 });
    const history = historyOf(windowOf(thirtyDays, today), rows, (state) =>
      state.includes('failed'),
    );
    const textOf = (day: string, isOver: boolean) => {
      const summary = summaryOf(history, day);
      return summary && summaryText(summary, isOver);
    };
    expect(textOf('2026-11-27', true)).toMatch(
      /^[78]\d\d events, usually [78]\d\d; failures of any kind \d\.\d%, usually 1\.\d%$/,
    );
    expect(textOf(today, false)).toContain('on a whole day');
    expect(textOf('2026-11-29', true)).toMatch(/^\d\d events, usually \d\d; failures of any kind/);
    expect(textOf('2026-01-01', true)).toBeUndefined();
  });

  it('is compared with the weeks before a change that lasts', () => {
    const rows = rowsOf({ seed: 77, planted: volume(2, '2026-10-12') });
    const summary = summaryOf(
      historyOf(windowOf(thirtyDays, today), rows, () => false),
      '2026-11-27',
    );
    expect(summary?.events.value).toBeGreaterThan(1400);
    expect(summary?.events.usual).toBeGreaterThan(750);
    expect(summary?.events.usual).toBeLessThan(850);
  });

  it('is the latest that is over, and today if it is shown', () => {
    expect(daysInReview(thirtyDays, today)).toEqual({ over: '2026-11-29', soFar: true });
    expect(daysInReview({ from: today, to: today }, today)).toEqual({
      ...{ over: addDays(today, -1), soFar: true },
    });
    const earlier = { from: '2026-05-01', to: '2026-05-31' };
    expect(daysInReview(earlier, today)).toEqual({ over: '2026-05-31', soFar: false });
  });
});
