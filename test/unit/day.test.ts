import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { dayRule } from '../../src/domain/day.ts';
import { dateOfTimestamp } from '../../src/domain/timestamp.ts';

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

  it('is refused by every rule where the timestamp is none', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        if (dateOfTimestamp(text) === undefined) expect(dayRule('UTC')(text)).toBeUndefined();
      }),
    );
  });

  it('has no rule for a zone that nobody knows', () => {
    expect(() => dayRule('Mars/Olympus_Mons')).toThrow(RangeError);
  });
});
