import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { dateOfTimestamp, daysInRange, isCalendarDate } from '../../../src/domain/timestamp.ts';

const dayMs = 86_400_000;
const firstDay = Date.parse('0001-01-01T00:00:00Z') / dayMs;
const lastDay = Date.parse('9999-12-31T00:00:00Z') / dayMs;

const twoDigits = (number: number) => String(number).padStart(2, '0');
const upTo = (max: number) => fc.integer({ min: 0, max }).map(twoDigits);
const between = (min: number, max: number) => fc.integer({ min, max }).map(twoDigits);

const date = fc
  .integer({ min: firstDay, max: lastDay })
  .map((day) => new Date(day * dayMs).toISOString().slice(0, 10));
const separator = fc.constantFrom('T', 't');
const time = fc.tuple(upTo(23), upTo(59), upTo(59)).map((parts) => parts.join(':'));
const fraction = fc.option(fc.stringMatching(/^[0-9]{1,40}$/), { nil: undefined });
const offset = fc.oneof(
  fc.constantFrom('Z', 'z'),
  fc.tuple(fc.constantFrom('+', '-'), upTo(23), upTo(59)).map(([sign, h, m]) => `${sign}${h}:${m}`),
);
const timestampWithoutFraction = fc.tuple(date, separator, time, offset).map((all) => all.join(''));

describe('the date of a timestamp', () => {
  it('is the date as written, whatever the offset, the fraction and the case', () => {
    fc.assert(
      fc.property(date, separator, time, fraction, offset, (day, t, clock, digits, zone) => {
        const tail = digits === undefined ? '' : `.${digits}`;
        expect(dateOfTimestamp(`${day}${t}${clock}${tail}${zone}`)).toBe(day);
      }),
      { numRuns: 1000 },
    );
  });

  it.each([
    ['0001-01-01T00:00:00Z', '0001-01-01'],
    ['9999-12-31T23:59:59-23:59', '9999-12-31'],
    ['2023-06-16T23:30:00-05:00', '2023-06-16'],
    ['2023-06-16T00:30:00+05:00', '2023-06-16'],
    ['2023-06-16T13:00:00-00:00', '2023-06-16'],
  ])('%s is on %s', (timestamp, day) => {
    expect(dateOfTimestamp(timestamp)).toBe(day);
  });
});

describe('a text off the grammar is no timestamp', () => {
  const at = fc.nat();
  function refuses(text: string): void {
    expect(dateOfTimestamp(text), text).toBeUndefined();
  }

  it('with a character less', () => {
    fc.assert(
      fc.property(timestampWithoutFraction, at, (timestamp, place) => {
        const index = place % timestamp.length;
        refuses(timestamp.slice(0, index) + timestamp.slice(index + 1));
      }),
    );
  });

  it('with a character more, be it a digit or white space', () => {
    const character = fc.oneof(
      fc.stringMatching(/^[ \n\t\r0.:+Z-]$/),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    );
    fc.assert(
      fc.property(timestampWithoutFraction, at, character, (timestamp, place, more) => {
        const index = place % (timestamp.length + 1);
        refuses(timestamp.slice(0, index) + more + timestamp.slice(index));
      }),
    );
  });

  it('with a character of another kind in the place of one', () => {
    const digit = fc.stringMatching(/^[ xT:.+/\u0660\uff11-]$/);
    const mark = fc.stringMatching(/^[ x0_/;,\u2212\uff1a]$/);
    fc.assert(
      fc.property(timestampWithoutFraction, at, digit, mark, (timestamp, place, d, m) => {
        const index = place % timestamp.length;
        const other = /\d/.test(timestamp.charAt(index)) ? d : m;
        refuses(timestamp.slice(0, index) + other + timestamp.slice(index + 1));
      }),
      { numRuns: 500 },
    );
  });

  const outOfRange = {
    'a month of 0 or above 12': fc
      .oneof(fc.constant('00'), between(13, 99))
      .map((month) => `2023-${month}-01T00:00:00Z`),
    'a day of 0 or above 31': fc
      .oneof(fc.constant('00'), between(32, 99))
      .map((day) => `2023-01-${day}T00:00:00Z`),
    'an hour above 23': between(24, 99).map((hour) => `2023-01-01T${hour}:00:00Z`),
    'a minute above 59': between(60, 99).map((minute) => `2023-01-01T23:${minute}:00Z`),
    'a second above 60': between(61, 99).map((second) => `2023-01-01T23:59:${second}Z`),
    'an offset of more than 23 hours': between(24, 99).map((h) => `2023-01-01T00:00:00+${h}:00`),
    'an offset of more than 59 minutes': between(60, 99).map((m) => `2023-01-01T00:00:00-00:${m}`),
    'the year 0000': fc.tuple(time, offset).map(([clock, zone]) => `0000-01-01T${clock}${zone}`),
  };
  it.each(Object.entries(outOfRange))('with %s', (_, timestamp) => {
    fc.assert(fc.property(timestamp, refuses));
  });

  it.each([
    '',
    '2023-06-16',
    '2023-06-16T13:00Z',
    '2023-06-16T13:00:00',
    '2023-06-16T13:00:00.Z',
    '2023-06-16T13:00:00,5Z',
    '2023-06-16T13:00:00+0200',
    '2023-06-16T13:00:00+02',
    '20230616T130000Z',
    '+002023-06-16T13:00:00Z',
    '-0001-06-16T13:00:00Z',
    '2023-W24-5T13:00:00Z',
    '2023-06-16T13:00:00Z\n',
    '2023-06-16T13:00:00 Z',
  ])('%j', refuses);
});

describe('a leap second', () => {
  /** As the calendar of the language has it, not by the minute arithmetic of the code. */
  function isLastMinuteOfDayInUtc(clock: string, zone: string): boolean {
    const moment = new Date(`2016-12-31T${clock}:00${zone}`);
    return moment.toISOString().endsWith('T23:59:00.000Z');
  }

  it('stands at the last second of the day in UTC, written with any offset', () => {
    const sign = fc.constantFrom('+', '-');
    fc.assert(
      fc.property(sign, fc.integer({ min: 0, max: 1439 }), date, (plus, minutes, day) => {
        const zone = `${plus}${twoDigits(Math.floor(minutes / 60))}:${twoDigits(minutes % 60)}`;
        const local = (1439 + (plus === '+' ? minutes : -minutes) + 1440) % 1440;
        const clock = `${twoDigits(Math.floor(local / 60))}:${twoDigits(local % 60)}`;
        expect(isLastMinuteOfDayInUtc(clock, zone)).toBe(true);
        expect(dateOfTimestamp(`${day}T${clock}:60${zone}`)).toBe(day);
        expect(dateOfTimestamp(`${day}T${clock}:60.999${zone}`)).toBe(day);
      }),
    );
  });

  it('stands at no other minute', () => {
    fc.assert(
      fc.property(upTo(23), upTo(59), offset, (hour, minute, zone) => {
        const clock = `${hour}:${minute}`;
        const isOne = isLastMinuteOfDayInUtc(clock, zone.toUpperCase());
        const dateOfIt = dateOfTimestamp(`2016-12-31T${clock}:60${zone}`);
        expect(dateOfIt).toBe(isOne ? '2016-12-31' : undefined);
      }),
      { numRuns: 1000 },
    );
  });

  it.each(['23:59:60Z', '18:59:60-05:00', '00:59:60+01:00', '05:29:60+05:30', '00:00:60-23:59'])(
    'may be written %s',
    (clock) => {
      expect(dateOfTimestamp(`2016-12-31T${clock}`)).toBe('2016-12-31');
    },
  );
});

describe('the calendar', () => {
  function expectCalendarOfYear(year: number) {
    for (let month = 0; month <= 13; month++) {
      for (let day = 0; day <= 32; day++) {
        const moment = new Date(0);
        moment.setUTCFullYear(year, month - 1, day);
        const exists = moment.getUTCMonth() === month - 1 && moment.getUTCDate() === day;
        const text = `${String(year).padStart(4, '0')}-${twoDigits(month)}-${twoDigits(day)}`;
        if (isCalendarDate(text) !== exists) expect.fail(`${text} should be ${exists}`);
        const timestamp = dateOfTimestamp(`${text}T12:00:00Z`);
        if (timestamp !== (exists ? text : undefined)) expect.fail(`${text}T… gave ${timestamp}`);
      }
    }
  }

  it('is that of Date.UTC for every day of a year from 1 to 9999', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 9999 }), expectCalendarOfYear));
  });

  it.each([1, 4, 100, 400, 1582, 1900, 2000, 2023, 2024, 2100, 9999])(
    'is that of Date.UTC for every day of %i',
    expectCalendarOfYear,
  );

  it.each([
    '',
    '2023-6-16',
    '2023-06-16T',
    ' 2023-06-16',
    '2023-06-16\n',
    '0000-06-16',
    '２０２３-06-16',
  ])('%j is no date', (text) => {
    expect(isCalendarDate(text)).toBe(false);
  });

  it('counts both ends of a range', () => {
    expect(daysInRange('2023-06-16', '2023-06-16')).toBe(1);
    expect(daysInRange('2024-01-01', '2024-12-31')).toBe(366);
    expect(daysInRange('0001-01-01', '0001-12-31')).toBe(365);
    expect(daysInRange('2023-06-16', '2023-06-15')).toBe(0);
    expect(daysInRange('2023-06-16', '2023-06-01')).toBe(-14);
  });
});
