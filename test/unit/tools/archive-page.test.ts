import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { serveArchiveOptions } from '../../../src/entry/archive/archive-options.ts';
import { explainS3Error } from '../../../src/engines/embedded/archive/stores/s3-failures.ts';

const read = (name: string) =>
  readFileSync(join(import.meta.dirname, '../../../docs', name), 'utf8');
const page = read('archive.md');

const secondsOfMonth = 30 * 86_400;
const pricePerPut = 0.005 / 1000;

/** The cells of the lines of a table, by its first heading. */
function tableOf(heading: string): string[][] {
  const lines = page.split('\n');
  const first = lines.findIndex((line) => line.startsWith(`| ${heading} `)) + 2;
  const end = lines.findIndex((line, at) => at > first && !line.startsWith('|'));
  const cellsOf = (line: string) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
  return lines.slice(first, end).map(cellsOf);
}

function numberOf(text: string): number {
  return Number(text.replaceAll(/[,$]/g, ''));
}

/** The value of `a / b = c`, of `a / b` or of `a`. @throws if the two sides differ. */
function valueOf(text: string): number {
  const values = text.split(' = ').map((side) => {
    const [dividend = NaN, divisor = 1] = side.split(' / ').map(numberOf);
    return dividend / divisor;
  });
  expect(new Set(values).size, text).toBe(1);
  return values[0] ?? NaN;
}

function expectPrice(text: string | undefined, puts: number): void {
  expect(text).toMatch(/^\$[\d,]+\.\d\d$/);
  expect(numberOf(text ?? '')).toBeCloseTo(puts * pricePerPut, 2);
}

describe('docs/archive.md', () => {
  it('computes the price of each interval', () => {
    const rows = tableOf('`--archive-interval`');
    expect(rows.map(([interval = '']) => interval)).toEqual(['1', '10 (default)', '60']);
    for (const [interval = '', puts = '', price] of rows) {
      expect(valueOf(puts)).toBe(secondsOfMonth / Number.parseInt(interval, 10));
      expectPrice(price, valueOf(puts));
    }
  });

  it('computes the price of sync mode', () => {
    const rows = tableOf('load');
    expect(rows).toHaveLength(4);
    for (const [load, perSecond = '', puts = '', price] of rows) {
      expect(numberOf(puts), load).toBeCloseTo(valueOf(perSecond) * secondsOfMonth, 6);
      expectPrice(price, numberOf(puts));
    }
  });

  it('has a policy with the permissions that the server needs', () => {
    const [, json = ''] = /```json\n([^`]*)```/.exec(page) ?? [];
    const { Statement: statements } = JSON.parse(json) as {
      Statement: { Action: string | string[] }[];
    };
    const denied = Object.assign(new Error('no'), { name: 'AccessDenied' });
    const place = { url: 's3://b/p', bucket: 'b', prefix: 'p/' };
    const asked = explainS3Error(denied, place).message.match(/s3:\w+(?=[ ,.])/g) ?? [];
    expect(asked.length).toBeGreaterThan(3);
    expect(statements.flatMap(({ Action: action }) => action).sort()).toEqual(asked.sort());
  });
});

it('docs/command-line.md has every option of an archive, with its default', () => {
  const settings = read('command-line.md');
  for (const { long, defaultValue, defaultValueDescription } of serveArchiveOptions()) {
    const value = defaultValueDescription ?? (defaultValue as string | number | undefined);
    const text = value === undefined ? 'none' : `\`?${String(value)}\`?`;
    expect(settings).toMatch(new RegExp(`^- \`${long ?? ''}\` \\(${text}\\): `, 'm'));
  }
});
