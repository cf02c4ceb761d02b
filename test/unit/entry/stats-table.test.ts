import { describe, expect, it } from 'vitest';

import { bar, dayLine, statsTable } from '../../../src/entry/stats/stats-table.ts';

const rows = [
  { date: '2026-01-01', type: 'laptop', state: 'erased', count: 8 },
  { date: '2026-01-02', type: 'laptop', state: 'erased', count: 3 },
  { date: '2026-01-02', type: 'phone', state: 'erased', count: 1 },
];

describe('a bar', () => {
  it('is as long as its share of the largest count', () => {
    expect(bar(8, 8)).toBe('█'.repeat(20));
    expect(bar(4, 8)).toBe('█'.repeat(10));
    expect(bar(0, 8)).toBe('');
  });

  it('of a small count can still be seen', () => {
    expect(bar(1, 1_000_000)).toBe('▏');
  });
});

describe('the line of days', () => {
  it('has the total of each day, in order', () => {
    expect(dayLine([...rows].reverse())).toBe('█▅  days with counts, 2026-01-01 to 2026-01-02\n');
  });

  it('is missing for a single day, and without dates', () => {
    expect(dayLine(rows.slice(1))).toBe('');
    expect(dayLine([])).toBe('');
  });

  it('has the latest 60 days', () => {
    const days = Array.from({ length: 70 }, (_, day) => {
      const date = new Date(Date.UTC(2026, 0, 1 + day)).toISOString().slice(0, 10);
      return { date, count: 1 };
    });
    expect(dayLine(days)).toMatch(/^█{60} {2}days with counts, 2026-01-11 to 2026-03-11\n$/);
  });
});

describe('a table', () => {
  it('has bars and the line of days on a terminal only', async () => {
    const columns = ['date', 'type', 'state'] as const;
    expect(await statsTable(rows, columns, true)).toContain('█');
    const plain = await statsTable(rows, columns, false);
    expect(plain).not.toMatch(/[▁▏█]/);
    expect(plain).toMatch(/total +│ +12 │\n[^\n]*\n$/);
  });
});
