import { describe, expect, it } from 'vitest';

import type { CounterRow } from '../../../src/domain/counter.ts';
import { readPageDate, readStatsRequest } from '../../../src/http/stats/stats-query.ts';
import type { Dimension, StatsRow } from '../../../src/pipeline/stats/formats.ts';
import { statsText } from '../../support/stats-text.ts';

const read = (query: string) => readStatsRequest(new URLSearchParams(query), 'json');

function codeOf(query: string): string | undefined {
  const reading = read(query);
  return 'problem' in reading ? reading.problem.code : undefined;
}

function valueOf(query: string) {
  const reading = read(query);
  return 'problem' in reading ? expect.fail(reading.problem.detail) : reading.value;
}

const list = (name: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${name}=${index}`).join('&');

describe('a query', () => {
  it('for a date selects all counters of that date', () => {
    expect(valueOf('date=2023-06-16')).toEqual({
      query: { from: '2023-06-16', to: '2023-06-16', types: [], states: [] },
      groupBy: undefined,
      format: 'json',
    });
  });

  it.each(['json', 'csv', 'ndjson', 'markdown'])('may ask for %s', (format) => {
    expect(valueOf(`date=2023-06-16&format=${format}`).format).toBe(format);
  });

  it('may ask for a byte order mark in front of CSV', () => {
    const markOf = (more: string) => valueOf(`date=2023-06-16${more}`).hasByteOrderMark ?? false;
    expect(['&format=csv', '&format=csv&bom=0', '&bom=0'].map(markOf)).toEqual([
      ...[false, false, false],
    ]);
    expect(markOf('&format=csv&bom=1')).toBe(true);
    const preferring = readStatsRequest(new URLSearchParams('date=2023-06-16&bom=1'), 'csv');
    expect(preferring).toMatchObject({ value: { format: 'csv', hasByteOrderMark: true } });
  });

  it('for a range requires both ends', () => {
    expect(valueOf('from=2023-06-15&to=2023-06-17').query).toMatchObject({
      from: '2023-06-15',
      to: '2023-06-17',
    });
  });

  it('filters by the types and states that it names, as they are', () => {
    const { query } = valueOf('date=2023-06-16&type=a%23b&type=a+b&state=%F0%9F%92%BB');
    expect(query).toMatchObject({ types: ['a#b', 'a b'], states: ['💻'] });
  });

  it.each([
    ['group_by=date', ['date']],
    ['group_by=state,date', ['date', 'state']],
    ['group_by=state&group_by=type', ['type', 'state']],
    ['group_by=type,type', ['type']],
  ])('may be grouped: %s', (groupBy, dimensions) => {
    expect(valueOf(`date=2023-06-16&${groupBy}`).groupBy).toEqual(dimensions);
  });

  it('is in the preferred format where it names none', () => {
    const preferring = (query: string) => readStatsRequest(new URLSearchParams(query), 'csv');
    expect(preferring('date=2023-06-16')).toMatchObject({ value: { format: 'csv' } });
    expect(preferring('date=2023-06-16&format=json')).toMatchObject({ value: { format: 'json' } });
  });

  it('with an unknown parameter is refused, and the answer lists the parameters', () => {
    expect(read('date=2023-06-16&stat=erased')).toEqual({
      problem: {
        code: 'unknown_parameter',
        detail:
          'Unknown parameter "stat"; the parameters are date, from, to, type, state, group_by, format, bom.',
      },
    });
  });

  it.each([
    ['state=', 'state must not be empty or only white space'],
    ['type=laptop+', 'type must not begin or end with white space'],
    [`type=${'x'.repeat(129)}`, 'type must be at most 128 bytes of UTF-8'],
    ['type=a%00', 'type must not contain control characters'],
  ])('with names that no counter can have is refused: %s', (filter, why) => {
    const reading = read(`date=2023-06-16&${filter}`);
    const problem = 'problem' in reading ? reading.problem : undefined;
    expect(problem?.code).toBe('invalid_filter');
    expect(problem?.detail).toContain(why);
    expect(problem?.detail.length).toBeLessThan(300);
  });

  it.each([
    ['missing_date', ''],
    ['missing_date', 'state=erased'],
    ['unknown_parameter', 'Date=2023-06-16'],
    ['unknown_parameter', 'date=2023-06-16&utm_source=x'],
    ['unknown_parameter', 'date=2023-06-16&=x'],
    ['invalid_date', 'date='],
    ['invalid_date', 'date=2023-02-30'],
    ['invalid_date', 'date=2023-6-16'],
    ['invalid_date', 'date=2023-06-16T00:00:00Z'],
    ['invalid_date', 'date=+2023-06-16'],
    ['invalid_date', 'date=0000-01-01'],
    ['invalid_date', 'date=2023-06-16&date=2023-06-16'],
    ['invalid_date', 'from=2023-06-16&to=today'],
    ['invalid_date', 'from=today&to=2023-06-16'],
    ['invalid_date', 'from=2023-06-16&from=2023-06-16&to=2023-06-16'],
    ['invalid_date', 'from=2023-06-16&to=2023-06-16&to=2023-06-16'],
    ['invalid_range', 'from=2023-06-16'],
    ['invalid_range', 'to=2023-06-16'],
    ['invalid_range', 'date=2023-06-16&to=2023-06-16'],
    ['invalid_range', 'date=2023-06-16&from=2023-06-16&to=2023-06-16'],
    ['invalid_range', 'from=2023-06-16&to=2023-06-15'],
    ['invalid_group_by', 'date=2023-06-16&group_by='],
    ['invalid_group_by', 'date=2023-06-16&group_by=type,'],
    ['invalid_group_by', 'date=2023-06-16&group_by=type, state'],
    ['invalid_group_by', 'date=2023-06-16&group_by=Type'],
    ['invalid_group_by', 'date=2023-06-16&group_by=count'],
    ['invalid_group_by', 'date=2023-06-16&group_by=constructor'],
    ['invalid_format', 'date=2023-06-16&format='],
    ['invalid_format', 'date=2023-06-16&format=CSV'],
    ['invalid_format', 'date=2023-06-16&format=toString'],
    ['invalid_format', 'date=2023-06-16&format=csv&format=csv'],
    ['invalid_format', 'date=2023-06-16&format=json&format=xlsx'],
    ['invalid_format', 'date=2023-06-16&format=csv&bom='],
    ['invalid_format', 'date=2023-06-16&format=csv&bom=2'],
    ['invalid_format', 'date=2023-06-16&format=csv&bom=true'],
    ['invalid_format', 'date=2023-06-16&format=csv&bom=1&bom=1'],
    ['invalid_format', 'date=2023-06-16&bom=1'],
    ['invalid_format', 'date=2023-06-16&format=ndjson&bom=1'],
    ['invalid_format', 'date=2023-06-16&format=markdown&bom=1'],
    ['invalid_filter', `date=2023-06-16&${list('type', 101)}`],
    ['invalid_filter', `date=2023-06-16&${list('state', 101)}`],
  ])('is %s: %s', (code, query) => {
    expect(codeOf(query)).toBe(code);
  });

  it('may name 100 types and 100 states', () => {
    const { query } = valueOf(`date=2023-06-16&${list('type', 100)}&${list('state', 100)}`);
    expect([query.types.length, query.states.length]).toEqual([100, 100]);
  });

  it('may ask for 366 days, be it across the end of a year, and no more', () => {
    expect(codeOf('from=2024-01-01&to=2024-12-31')).toBeUndefined();
    expect(codeOf('from=2024-03-01&to=2025-03-01')).toBeUndefined();
    expect(codeOf('from=2024-03-01&to=2025-03-02')).toBe('invalid_range');
    expect(codeOf('from=2024-01-01&to=2025-01-01')).toBe('invalid_range');
    expect(codeOf('from=0001-01-01&to=9999-12-31')).toBe('invalid_range');
  });
});

describe('the single date of a page', () => {
  it('is given once', () => {
    const readOne = (query: string) => readPageDate(new URLSearchParams(query));
    expect(readOne('date=2023-06-16')).toEqual({ value: '2023-06-16' });
    expect(readOne('')).toMatchObject({ problem: { code: 'missing_date' } });
    expect(readOne('date=2023-06-16&type=x')).toMatchObject({
      problem: { code: 'unknown_parameter' },
    });
    expect(readOne('date=x')).toMatchObject({ problem: { code: 'invalid_date' } });
    expect(readOne('date=2023-06-16&date=2023-06-16')).toMatchObject({
      problem: { code: 'invalid_date' },
    });
  });
});

describe('grouped rows', () => {
  const row = (date: string, type: string, state: string, count: number) => {
    return { date, type, state, count };
  };
  const rows = [
    row('2023-06-15', 'a', 'x', 1),
    row('2023-06-15', 'b', 'x', 2),
    row('2023-06-16', '__proto__', 'x', 4),
    row('2023-06-16', 'a', 'x', 8),
    row('2023-06-16', 'a', 'y', 16),
  ];
  const answer = (pieces: CounterRow[][], groupBy?: Dimension[]) =>
    JSON.parse(statsText('json', pieces, groupBy)) as StatsRow[];
  const group = (...groupBy: Dimension[]) => answer([rows], groupBy);

  it('are the rows themselves where nothing is grouped by', () => {
    expect(answer([rows])).toEqual(rows);
  });

  it('are the rows themselves where all is grouped by', () => {
    expect(group('date', 'type', 'state')).toEqual(rows);
  });

  it('sum the counts over what is not grouped by, and leave it out', () => {
    expect(group('date')).toEqual([
      { date: '2023-06-15', count: 3 },
      { date: '2023-06-16', count: 28 },
    ]);
    expect(group('state')).toEqual([
      { state: 'x', count: 15 },
      { state: 'y', count: 16 },
    ]);
    expect(group('date', 'state')).toEqual([
      { date: '2023-06-15', state: 'x', count: 3 },
      { date: '2023-06-16', state: 'x', count: 12 },
      { date: '2023-06-16', state: 'y', count: 16 },
    ]);
  });

  it('are in the order of dates, then sort keys, though the groups were found in another', () => {
    expect(group('type')).toEqual([
      { type: '__proto__', count: 4 },
      { type: 'a', count: 25 },
      { type: 'b', count: 2 },
    ]);
    const astral = [row('2023-06-15', '\u{10000}', 'x', 1), row('2023-06-16', '\uffff', 'x', 1)];
    expect(answer([astral], ['type']).map(({ type }) => type)).toEqual(['\uffff', '\u{10000}']);
  });

  it('do not confuse two pairs of names', () => {
    const pairs = [row('2023-06-16', 'a#b', 'c', 1), row('2023-06-16', 'a', 'b#c', 2)];
    expect(answer([pairs], ['type', 'state'])).toEqual([
      { type: 'a', state: 'b#c', count: 2 },
      { type: 'a#b', state: 'c', count: 1 },
    ]);
  });

  it('are the same in whatever pieces they come', () => {
    const pieces = [rows.slice(0, 1), [], rows.slice(1, 4), rows.slice(4)];
    expect(answer(pieces)).toEqual(rows);
    for (const groupBy of [['date'], ['type', 'state']] satisfies Dimension[][]) {
      expect(answer(pieces, groupBy)).toEqual(group(...groupBy));
    }
  });

  it('are none without rows', () => {
    expect(answer([], ['type'])).toEqual([]);
    expect(answer([[]])).toEqual([]);
    expect(answer([])).toEqual([]);
  });
});
