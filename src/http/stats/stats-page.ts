import type { CounterRow } from '../../domain/counter.ts';
import { asWritten } from '../../domain/day.ts';
import { addDays, isCalendarDate, type CalendarDate } from '../../domain/timestamp.ts';
import type { PipelineStatus, Queries } from '../../pipeline/ports.ts';
import type { StatsRequest } from '../../pipeline/stats/stats.ts';
import { withThousands } from '../../util/thousands.ts';
import { browserHeaders, problemAnswer, type Answer } from '../app/answer.ts';
import { escaped } from '../app/html.ts';
import { scriptlessHeaders } from '../app/pages.ts';
import { tooLarge } from './stats-answer.ts';
import { calendarOf, longDay, monthOf, type DailyCounts } from './stats-calendar.ts';
import { readPageDate } from './stats-query.ts';

/** The page shows at most this many rows, so that a browser can render it quickly. */
const rowsMax = 10_000;

/** The colours are those of the dashboard, src/dashboard/style/base.css. */
const style = `
:root { color-scheme: light dark; --page: #f6f7f9; --surface: #fff; --ink: #151b26; --muted: #576172; --line: #e3e7ed; --bar: #3b6fd4; --accent: #2f5bd0; --tint: #e9effc; --bad: #d1495b; --bad-ink: #b4293d; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1217; --surface: #171b22; --ink: #e8ebf1; --muted: #a4adbd; --line: #2a303b; --bar: #4f83e6; --accent: #8fb0ff; --tint: #223055; --bad: #f0707f; --bad-ink: #ff8f9b; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 62rem; padding: 0 1rem; background: var(--page); color: var(--ink); }
a { color: var(--accent); }
h1 { font-size: 1.2rem; margin: 0 0 .75rem; }
nav { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; align-items: center; margin-bottom: 1rem; }
form { display: flex; gap: .5rem; align-items: center; }
input, button { font: inherit; padding: .2rem .6rem; color: inherit; background: var(--surface); border: 1px solid var(--muted); border-radius: 8px; }
section { background: var(--surface); border: 1px solid var(--line); border-radius: 12px; padding: 1rem 1.25rem; margin-bottom: 1rem; }
.calendar { width: auto; font-size: .88rem; }
.calendar caption { font-weight: 600; padding-bottom: .25rem; }
.calendar th, .calendar td { border: 0; padding: 0; text-align: center; width: 2.4rem; min-width: 0; color: var(--muted); font-weight: 400; }
.calendar td a { display: block; padding: .2rem; border-radius: 6px; text-decoration: none; }
.calendar .today a { font-weight: 700; text-decoration: underline; }
.calendar [class*='shade'] a { color: var(--ink); }
.calendar .shade-1 a { background: color-mix(in srgb, var(--bar) 8%, var(--surface)); }
.calendar .shade-2 a { background: color-mix(in srgb, var(--bar) 14%, var(--surface)); }
.calendar .shade-3 a { background: color-mix(in srgb, var(--bar) 20%, var(--surface)); }
.calendar .shade-4 a { background: color-mix(in srgb, var(--bar) 26%, var(--surface)); }
.hint { color: var(--muted); font-size: .85rem; margin: .5rem 0 0; }
.calendar a[aria-current] { background: var(--tint); outline: 1px solid var(--accent); font-weight: 700; }
table { border-collapse: collapse; table-layout: fixed; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem; text-align: left; overflow-wrap: anywhere; }
.rows th { color: var(--muted); font-weight: 500; }
.rows th:nth-child(n + 3), .rows td:nth-child(n + 3), tfoot td { text-align: right; font-variant-numeric: tabular-nums; }
.rows thead th:first-child { width: 28%; }
.rows thead th:nth-child(3) { width: 7.5rem; }
.rows thead th:last-child { width: 28%; }
tfoot th, tfoot td { border-bottom: 0; font-weight: 600; }
svg { float: left; width: calc(100% - 4rem); height: .7rem; margin-top: .4rem; }
rect { fill: var(--bar); }
.failing rect { fill: var(--bad); }
.failing td:nth-child(2) { color: var(--bad-ink); }
@media (max-width: 36rem) {
  body { margin: 1rem auto; font-size: 15px; }
  .rows th, .rows td { padding: .35rem .3rem; }
  .calendar { width: 100%; }
  svg { float: none; display: block; width: 100%; height: .4rem; margin: .2rem 0; }
  .rows thead th:first-child { width: 30%; }
  .rows thead th:nth-child(3) { width: 5.5rem; }
  .rows thead th:last-child { width: 4.5rem; }
}
@media (max-width: 26rem) {
  section { padding: 1rem .75rem; }
  .calendar th, .calendar td { width: auto; padding: .1rem; }
  .rows thead th:first-child { width: 38%; }
  .rows th:nth-child(n + 4), .rows td:nth-child(n + 4), .rows tfoot td:last-child { display: none; }
}
`;

const headers = {
  ...browserHeaders,
  'content-type': 'text/html; charset=utf-8',
  // A safety net: types and states are untrusted text.
  ...scriptlessHeaders(style, "'self'"),
};

/** What the page needs from the server. */
interface PageSettings {
  readonly today: CalendarDate;
  readonly dayZone: string;
  /** Whether there is a page at `/` to link to. */
  readonly hasDashboard: boolean;
}

/** Answers `GET /stats-html`; `signal` is aborted when the client disconnects. */
export async function statsPageAnswer(
  queries: Pick<Queries, 'stats' | 'status'>,
  parameters: URLSearchParams,
  settings: PageSettings,
  signal?: AbortSignal,
): Promise<Answer> {
  const date = readPageDate(parameters);
  if ('problem' in date) return problemAnswer(date.problem);
  const status = await queries.status();
  const day: Day = { date: date.value, rows: [], rowsInAll: 0, total: 0, largest: 0 };
  const counts = new Map<CalendarDate, number>();
  const filter = { types: [], states: [] };
  const query = { from: day.date, to: day.date, ...filter };
  const month = { query: { ...monthOf(day.date), ...filter }, groupBy: ['date'] } as const;
  const addCounts = (rows: readonly CounterRow[]) => {
    for (const { date, count } of rows) counts.set(date, count);
  };
  const addToDay = (rows: readonly CounterRow[]) => addRows(day, rows);
  const [, isWhole] = await Promise.all([
    readRows(queries, month, addCounts, signal),
    readRows(queries, { query, groupBy: undefined }, addToDay, signal),
  ]);
  if (!isWhole) return tooLarge;
  // Rows that were cut are the first by name, not the largest.
  if (day.rowsInAll === day.rows.length) day.rows.sort((a, b) => b.count - a.count);
  return { status: 200, headers, body: pageOf(day, status, counts, settings) };
}

/** Passes the rows of a query to `add` as they come; false if there are too many. */
async function readRows(
  queries: Pick<Queries, 'stats'>,
  request: Pick<StatsRequest, 'query' | 'groupBy'>,
  add: (rows: readonly CounterRow[]) => void,
  signal?: AbortSignal,
): Promise<boolean> {
  const answer = await queries.stats({ ...request, format: 'ndjson' }, [], signal);
  if (answer.kind !== 'whole' && answer.kind !== 'stream') return false;
  const decoder = new TextDecoder();
  let partialLine = '';
  for await (const piece of answer.kind === 'whole' ? [answer.bytes] : answer.pieces) {
    if (signal?.aborted === true) break;
    const text = partialLine + decoder.decode(piece, { stream: true });
    const end = text.lastIndexOf('\n') + 1;
    partialLine = text.slice(end);
    const lines = text.slice(0, end).trimEnd().replaceAll('\n', ',');
    add(JSON.parse(`[${lines}]`) as CounterRow[]);
  }
  return true;
}

interface Day {
  readonly date: CalendarDate;
  /** The rows to show, at most `rowsMax`. */
  readonly rows: CounterRow[];
  /** The number of all rows. */
  rowsInAll: number;
  total: number;
  largest: number;
}

function addRows(day: Day, rows: readonly CounterRow[]): void {
  day.rows.push(...rows.slice(0, rowsMax - day.rows.length));
  day.rowsInAll += rows.length;
  for (const { count } of rows) {
    day.total += count;
    day.largest = Math.max(day.largest, count);
  }
}

function pageOf(
  day: Day,
  status: PipelineStatus,
  counts: DailyCounts,
  { today, dayZone, hasDashboard }: PageSettings,
): string {
  const { date, rowsInAll } = day;
  const zone = dayZone === asWritten ? 'as written in the timestamps' : `in ${escaped(dayZone)}`;
  const incomplete = incompleteness(status);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Processed devices on ${longDay(date)}</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>Processed devices on ${longDay(date)}</h1>
${navigation(date, today, hasDashboard)}
${incomplete === '' ? '' : `<p role="status">${incomplete}</p>\n`}<section>
${calendarOf(date, today, counts)}
<p class="hint">Days ${zone}. Darker days have more events.</p>
</section>
<section>
${rowsInAll === 0 ? '<p>Nothing was counted on this day.</p>' : table(day)}
</section>
</main>
</body>
</html>
`;
}

/** The links are relative, because a proxy may add a path prefix. */
function navigation(date: CalendarDate, today: CalendarDate, hasDashboard: boolean): string {
  const link = (to: CalendarDate | undefined, text: string, rel: string) =>
    to === undefined ? '' : `<a href="?date=${to}"${rel}>${text}</a>`;
  const links = [
    link(dayAfter(date, -1), '← Previous day', ' rel="prev"'),
    link(dayAfter(date, 1), 'Next day →', ' rel="next"'),
    date === today ? '' : link(today, 'Today', ''),
    hasDashboard ? `<a href="./?from=${date}&amp;to=${date}">Dashboard</a>` : '',
  ];
  return `<nav aria-label="Days">
${links.filter((each) => each !== '').join('\n')}
<form method="get">
<label for="date">Day</label>
<input id="date" name="date" type="date" required min="0001-01-01" max="9999-12-31" value="${date}">
<button type="submit">Show</button>
</form>
</nav>`;
}

/** One or two sentences about items that are acknowledged but not in the counters. */
function incompleteness({ pending, deadLetters, countedThrough }: PipelineStatus): string {
  const through = countedThrough === undefined ? undefined : new Date(countedThrough).toISOString();
  const sentences = [
    pending.amount > 0 &&
      `${plural(pending.amount, pending.unit)} ${pending.amount === 1 ? 'is' : 'are'} accepted and not counted yet${
        through === undefined ? '' : `; everything received before ${through} is counted`
      }.`,
    deadLetters > 0 &&
      `${plural(deadLetters, 'dead letters')} could not be counted: see “dlq list”.`,
  ];
  return sentences.filter((each) => each !== false).join(' ');
}

/** @param unit in the plural. */
function plural(amount: number, unit: string): string {
  return `${withThousands(amount)} ${amount === 1 ? unit.replace(/s$/, '') : unit}`;
}

function table(day: Day): string {
  const { date, rows, rowsInAll, total } = day;
  const more =
    rowsInAll === rows.length
      ? ''
      : `<p>The table shows the first ${withThousands(rows.length)} of ${withThousands(rowsInAll)} rows; the total includes all of them.</p>\n`;
  return `${more}<table class="rows">
<thead><tr><th scope="col">Type</th><th scope="col">State</th><th scope="col">Count</th><th scope="col">Share</th></tr></thead>
<tbody>
${rows.map((row) => rowOf(row, day)).join('')}</tbody>
<tfoot><tr><th scope="row" colspan="2">Total</th><td>${withThousands(total)}</td><td>${total === 0 ? '' : '100%'}</td></tr></tfoot>
</table>
<p>Download as <a href="stats?date=${date}&amp;format=csv&amp;bom=1">CSV</a> or <a href="stats?date=${date}">JSON</a>.</p>`;
}

/** `bdi` keeps right-to-left names from reordering the text beside them. */
function rowOf({ type, state, count }: CounterRow, { total, largest }: Day): string {
  const share = total === 0 ? 0 : (100 * count) / total;
  const width = largest === 0 ? 0 : (100 * count) / largest;
  // The dashboard treats the same states as failures, unless its settings say otherwise.
  const mark = state.toLowerCase().includes('fail') ? ' class="failing"' : '';
  return `<tr${mark}><td><bdi>${escaped(type)}</bdi></td><td><bdi>${escaped(state)}</bdi></td><td>${withThousands(count)}</td><td><svg aria-hidden="true"><rect width="${width.toFixed(1)}%" height="100%"></rect></svg>${percent(share)}</td></tr>
`;
}

function percent(share: number): string {
  return share > 0 && share < 0.1 ? '&lt;0.1%' : `${share.toFixed(1)}%`;
}

/** The date `days` later; undefined outside the years 0001 to 9999. */
function dayAfter(date: CalendarDate, days: number): CalendarDate | undefined {
  const text = addDays(date, days);
  return isCalendarDate(text) ? text : undefined;
}
