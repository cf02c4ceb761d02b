import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { dayRule, isSameDayZone, utcDayRule } from '../../../src/domain/day.ts';
import { dateOfTimestamp } from '../../../src/domain/timestamp.ts';

describe('the day of a timestamp', () => {
  it.each([
    ['2023-06-16T23:30:00-05:00', '2023-06-16', '2023-06-17', '2023-06-17', '2023-06-17'],
    ['2023-06-16T22:00:00Z', '2023-06-16', '2023-06-16', '2023-06-17', '2023-06-17'],
    ['2023-06-16T21:59:59.999z', '2023-06-16', '2023-06-16', '2023-06-16', '2023-06-17'],
    ['2023-06-16t18:14:59Z', '2023-06-16', '2023-06-16', '2023-06-16', '2023-06-16'],
    ['2023-06-16t18:15:00Z', '2023-06-16', '2023-06-16', '2023-06-16', '2023-06-17'],
    ['2016-12-31T23:59:60Z', '2016-12-31', '2016-12-31', '2017-01-01', '2017-01-01'],
    ['2017-01-01T00:59:60+01:00', '2017-01-01', '2016-12-31', '2017-01-01', '2017-01-01'],
    ['0900-02-28T12:00:00Z', '0900-02-28', '0900-02-28', '0900-02-28', '0900-02-28'],
    ['9999-12-31T23:59:59-01:00', '9999-12-31', undefined, undefined, undefined],
    ['0001-01-01T00:00:00+05:00', '0001-01-01', undefined, undefined, '0001-01-01'],
    ['2023-02-29T00:00:00Z', undefined, undefined, undefined, undefined],
    ['yesterday', undefined, undefined, undefined, undefined],
  ])('%s: written %s, UTC %s, Berlin %s, Kathmandu %s', (timestamp, ...days) => {
    const zones = ['as-written', 'UTC', 'Europe/Berlin', 'Asia/Kathmandu'];
    expect(zones.map((zone) => dayRule(zone)(timestamp))).toEqual(days);
  });

  it('in a zone is what the clocks there show, at any moment since 1973', () => {
    for (const zone of [
      'America/St_Johns',
      'Pacific/Apia',
      'Australia/Lord_Howe',
      'Africa/Cairo',
    ]) {
      const dayOf = dayRule(zone);
      const clock = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short' });
      const moments = fc.date({
        min: new Date('1973-01-01T00:00:00Z'),
        max: new Date('2100-01-01T00:00:00Z'),
        noInvalidDate: true,
      });
      fc.assert(
        fc.property(moments, (moment) => {
          expect(dayOf(moment.toISOString())).toBe(clock.format(moment));
        }),
        { numRuns: 2_000 },
      );
    }
  });

  it.each([
    // The clocks go back from 00:01 to 23:01 of the day before.
    ['America/St_Johns', '2006-10-29T02:15:00Z'],
    ['America/Goose_Bay', '2006-10-29T02:45:00Z'],
    ['America/Moncton', '1999-10-31T02:45:00Z'],
    // It differed from UTC by 10 hours and 40 minutes.
    ['Pacific/Kiritimati', '1975-06-01T10:30:00Z'],
  ])('in %s is exact in each minute around %s, whichever is computed first', (zone, begin) => {
    const clock = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short' });
    const minutes = Array.from(
      { length: 90 },
      (_, minute) => new Date(Date.parse(begin) + (minute - 30) * 60_000 + 10_000),
    );
    const dates = minutes.map((minute) => clock.format(minute));
    expect(new Set(dates).size).toBe(2);
    for (const order of [minutes, minutes.toReversed()]) {
      const dayOf = dayRule(zone);
      const dayOfUtc = utcDayRule(zone);
      for (const moment of order) {
        const date = clock.format(moment);
        const text = moment.toISOString();
        expect(dayOf(text), text).toBe(date);
        const number = dayOfUtc?.(
          Number(text.slice(0, 10).replaceAll('-', '')),
          moment.getUTCHours() * 60 + moment.getUTCMinutes(),
        );
        // 0: the general rule, as above, decides.
        expect([0, Number(date.replaceAll('-', ''))], text).toContain(number);
      }
    }
  });

  it('is refused by every rule where the timestamp is none', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        if (dateOfTimestamp(text) === undefined) expect(dayRule('UTC')(text)).toBeUndefined();
      }),
    );
  });

  it('has no rule for an unknown zone', () => {
    expect(() => dayRule('Mars/Olympus_Mons')).toThrow(RangeError);
  });

  it.each([
    ['UTC', 'utc', true],
    ['Europe/Berlin', 'europe/berlin', true],
    ['Asia/Kolkata', 'Asia/Calcutta', true],
    ['as-written', 'as-written', true],
    ['as-written', 'UTC', false],
    ['Europe/Berlin', 'Europe/Paris', false],
    ['Mars/Olympus_Mons', 'Mars/Tharsis', false],
  ])('of %s is that of %s: %s', (one, other, isSame) => {
    expect(isSameDayZone(one, other)).toBe(isSame);
    expect(isSameDayZone(other, one)).toBe(isSame);
  });
});
