import { describe, expect, it } from 'vitest';

import type { CounterRow } from '../../../src/domain/counter.ts';
import { calendarOf } from '../../../src/http/stats/stats-calendar.ts';
import { statsPageAnswer } from '../../../src/http/stats/stats-page.ts';
import type { PipelineStatus, Queries } from '../../../src/pipeline/ports.ts';
import type { StatsAnswer } from '../../../src/pipeline/stats/stats.ts';

const quiet: PipelineStatus = {
  unavailable: undefined,
  pending: { unit: 'items', amount: 0 },
  deadLetters: 0,
  countedThrough: Date.parse('2023-06-16T12:00:00Z'),
  lastReceivedAt: undefined,
};

/** An answer whose pieces end anywhere, also within a character. */
function streamOf(rows: readonly object[]): StatsAnswer {
  const bytes = Buffer.from(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  // oxlint-disable-next-line typescript/require-await -- the port is asynchronous
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += 1_001)
      yield new Uint8Array(bytes.subarray(at, at + 1_001));
  }
  return { kind: 'stream', version: undefined, pieces: pieces() };
}

async function pageOf(rows: readonly CounterRow[], status: Partial<PipelineStatus> = {}) {
  const days = [
    { date: '2023-06-15', count: 10 },
    { date: '2023-06-16', count: 1200 },
  ];
  const pipeline: Pick<Queries, 'stats' | 'status'> = {
    stats: ({ groupBy }) => Promise.resolve(streamOf(groupBy === undefined ? rows : days)),
    status: () => Promise.resolve({ ...quiet, ...status }),
  };
  const settings = { today: '2023-06-17', dayZone: 'Europe/Berlin', hasDashboard: true };
  return (await statsPageAnswer(pipeline, new URLSearchParams('date=2023-06-16'), settings)).body;
}

const row = (type: string, count: number) => ({ date: '2023-06-16', type, state: 'x', count });

it('a page says what is not counted yet, and what could not be, where there is such', async () => {
  expect(await pageOf([])).not.toContain('role="status"');
  expect(await pageOf([], { pending: { unit: 'items', amount: 1_200 } })).toContain(
    '<p role="status">1,200 items are accepted and not counted yet; everything received before 2023-06-16T12:00:00.000Z is counted.</p>',
  );
  const unknown = { countedThrough: undefined, deadLetters: 1 };
  expect(await pageOf([], { pending: { unit: 'messages', amount: 1 }, ...unknown })).toContain(
    '<p role="status">1 message is accepted and not counted yet. 1 dead letter could not be counted: see “dlq list”.</p>',
  );
});

it('a page of very many rows shows the first, and the total of all', async () => {
  const page = await pageOf(Array.from({ length: 12_345 }, (_, at) => row(`type ${at}`, 2)));
  expect(page.match(/<rect /g)).toHaveLength(10_000);
  expect(page).toContain('the first 10,000 of 12,345 rows; the total includes all');
  expect(page).toContain('<td>24,690</td>');
});

it('names are whole wherever the pieces of the rows end, and too many rows are a problem', async () => {
  const names = Array.from({ length: 500 }, (_, at) => `käfig ${at} 💻`);
  const page = await pageOf(names.map((name) => row(name, 1)));
  for (const name of names) expect(page).toContain(`<bdi>${name}</bdi>`);
  const stats = () => Promise.resolve({ kind: 'too_large' as const });
  const status = () => Promise.resolve(quiet);
  const settings = { today: '2023-06-17', dayZone: 'UTC', hasDashboard: true };
  const date = new URLSearchParams('date=2023-06-16');
  const answer = await statsPageAnswer({ stats, status }, date, settings);
  expect(answer).toMatchObject({
    status: 400,
    body: expect.stringContaining('answer_too_large') as string,
  });
});

it('a page of one row is that row, and a share is never shown as none', async () => {
  const one = await pageOf([row('a', 3)]);
  expect(one).toContain('<rect width="100.0%" height="100%"></rect></svg>100.0%');
  expect(await pageOf([row('a', 1), row('b', 999_999)])).toContain('&lt;0.1%');
});

it('a page has the largest rows first, red failures, its zone, and a link to the dashboard', async () => {
  const page = await pageOf([row('a', 3), { ...row('b', 8), state: 'Test FAILED' }]);
  expect(page).toMatch(/<tr class="failing"><td><bdi>b<\/bdi>[^]*<tr><td><bdi>a<\/bdi>/);
  expect(page).toContain('<h1>Processed devices on 16 Jun 2023</h1>');
  expect(page).toContain('Days in Europe/Berlin');
  expect(page).toContain('<a href="./?from=2023-06-16&amp;to=2023-06-16">Dashboard</a>');
  expect(page).toContain(
    '<td class="shade-1"><a href="?date=2023-06-15" title="15 Jun 2023: 10 events"',
  );
  expect(page).toMatch(/<td class="shade-4"><a href="\?date=2023-06-16"[^>]*: 1,200 events"/);
  expect(page).toMatch(/<td><a href="\?date=2023-06-14" title="14 Jun 2023: no events"/);
});

describe('the calendar', () => {
  const none = new Map<string, number>();

  const days = (html: string) =>
    html.match(/href="\?date=[^"]+"/g)?.map((link) => link.slice(12, -1)) ?? [];

  it('links to each day of the month, and to the months beside it', () => {
    const html = calendarOf('2026-02-10', '2026-02-12', none);
    const linked = days(html);
    expect(linked.slice(0, 3)).toEqual(['2026-01-31', '2026-03-01', '2026-02-01']);
    expect(linked).toHaveLength(30);
    expect(html).toContain('aria-current="date" title="10 Feb 2026: no events"');
    expect(html).toContain('<td class="today"><a href="?date=2026-02-12"');
    // The first of February 2026 is a Sunday: six empty cells come before it.
    expect(html.match(/<td><\/td>/g)).toHaveLength(6);
  });

  it('ends with the first and the last month of all', () => {
    expect(days(calendarOf('0001-01-05', '2026-02-12', none))[0]).toBe('0001-02-01');
    expect(days(calendarOf('9999-12-05', '2026-02-12', none))[0]).toBe('9999-11-30');
    expect(days(calendarOf('9999-12-05', '2026-02-12', none))).toHaveLength(32);
  });
});
