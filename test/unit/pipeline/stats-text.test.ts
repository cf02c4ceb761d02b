import { describe, expect, it } from 'vitest';

import type { CounterRow } from '../../../src/domain/counter.ts';
import type { Dimension, StatsFormat } from '../../../src/pipeline/stats-formats.ts';
import { statsText } from '../../support/stats-text.ts';

function write(format: StatsFormat, rows: readonly CounterRow[], groupBy?: readonly Dimension[]) {
  // In pieces, as rows come.
  return statsText(
    format,
    rows.map((row) => [row]),
    groupBy,
  );
}

const row = (type: string, state: string, count = 1) => ({
  date: '2023-06-16',
  type,
  state,
  count,
});

/** Reads CSV as RFC 4180 says. */
function readCsv(text: string): string[][] {
  const lines: string[][] = [[]];
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|$)/gy;
  for (let match = field.exec(text); match?.[0]; match = field.exec(text)) {
    const [, quoted, plain = '', end] = match;
    lines.at(-1)?.push(quoted?.replaceAll('""', '"') ?? plain);
    if (end === '\r\n') lines.push([]);
  }
  expect(lines.pop()).toEqual([]);
  return lines;
}

describe('CSV', () => {
  it('has a header, and a line for each row', () => {
    expect(write('csv', [row('laptop', 'erasure failed', 12), row('phone', 'erased', 3)])).toBe(
      'date,type,state,count\r\n' +
        '2023-06-16,laptop,erasure failed,12\r\n' +
        '2023-06-16,phone,erased,3\r\n',
    );
    expect(write('csv', [])).toBe('date,type,state,count\r\n');
  });

  it('has the columns that are grouped by, in their order', () => {
    const rows = [row('a', 'x'), row('b', 'x', 2)];
    expect(write('csv', rows, ['state', 'date'])).toBe('date,state,count\r\n2023-06-16,x,3\r\n');
  });

  it('quotes what has to be', () => {
    const names = ['a,b', 'a"b', '"', 'a;b', 'é, \u{1f600}', "it's"];
    const text = write(
      'csv',
      names.map((name) => row(name, name)),
    );
    const [, ...rows] = readCsv(text);
    expect(rows.map(([, type, state]) => [type, state])).toEqual(names.map((name) => [name, name]));
  });

  const formulas = [
    '=1+1',
    '+1',
    '-1',
    '@SUM(A1)',
    '\t=1',
    '\r=1',
    '\uff1d1',
    '\uff0b1',
    '\uff0d1',
    '\uff201',
    '=HYPERLINK("http://x","y")',
    "=cmd|' /C calc'!A0",
  ];

  it.each(formulas)('has no field that begins like %j', (name) => {
    const [, [, type, state] = []] = readCsv(write('csv', [row(name, 'a,b')]));
    expect([type, state]).toEqual([`'${name}`, 'a,b']);
  });

  it('can be read back: an apostrophe in front is one too many', () => {
    const names = [...formulas, "'", "'a", "'=1", "''", 'a=1', 'a'];
    const [, ...rows] = readCsv(
      write(
        'csv',
        names.map((name) => row(name, 'x')),
      ),
    );
    expect(rows.map(([, type]) => type?.replace(/^'/, ''))).toEqual(names);
  });
});

describe('NDJSON', () => {
  it('has a line for each row, and none where there is none', () => {
    const rows = [row('a\u2028b', '"', 12), row('=1', 'x', 3)];
    const lines = write('ndjson', rows).split('\n');
    expect(lines.pop()).toBe('');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(rows);
    expect(write('ndjson', [])).toBe('');
    expect(write('ndjson', rows, ['date'])).toBe('{"date":"2023-06-16","count":15}\n');
  });
});

describe('Markdown', () => {
  it('is a table with a header, a line for each row, and right-aligned numbers', () => {
    const head = '| date | type | state | count |\n| --- | --- | --- | ---: |\n';
    expect(write('markdown', [row('laptop', 'erasure failed', 12), row('phone', 'x')])).toBe(
      `${head}| 2023-06-16 | laptop | erasure failed | 12 |\n| 2023-06-16 | phone | x | 1 |\n`,
    );
    expect(write('markdown', [])).toBe(head);
  });

  it('has the columns that are grouped by, in their order', () => {
    const rows = [row('a', 'x|y'), row('b', 'x|y', 2)];
    expect(write('markdown', rows, ['state', 'date'])).toBe(
      '| date | state | count |\n| --- | --- | ---: |\n| 2023-06-16 | x\\|y | 3 |\n',
    );
  });

  it.each([
    ['a|b', 'a\\|b'],
    ['a\\', 'a\\\\'],
    ['\\|', '\\\\\\|'],
    ['`a`', '\\`a\\`'],
    ['**a** __b__', '\\*\\*a\\*\\* \\_\\_b\\_\\_'],
    ['<img src=x>', '\\<img src=x\\>'],
    ['![a](b)', '!\\[a\\](b)'],
    ['&lt;~~a~~', '\\&lt;\\~\\~a\\~\\~'],
    ['# a-b + 1. é', '# a-b + 1. é'],
  ])('escapes what Markdown would interpret: %s', (name, escaped) => {
    const lines = write('markdown', [row(name, name)]).split('\n');
    expect(lines[2]).toBe(`| 2023-06-16 | ${escaped} | ${escaped} | 1 |`);
  });
});
