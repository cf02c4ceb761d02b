import { setTimeout as delay } from 'node:timers/promises';

import {
  absence,
  addressHint,
  describeFailure,
  wrongServerHint,
} from '../../client/failure-text.ts';
import { requestOverHttp } from '../../client/http-request.ts';
import { authorization, parseObject, readText, stringOr } from '../../client/post-batch.ts';
import { dimensions, type Dimension, type StatsRow } from '../../pipeline/stats/formats.ts';
import { Groups, StatsWriter } from '../../pipeline/stats/text.ts';
import { dayMs } from '../../domain/timestamp.ts';
import type { DateRange } from '../../pipeline/store-admin.ts';
import { withThousands } from '../../util/thousands.ts';
import { lastWeek } from '../cli/date-range.ts';
import type { StorePlace } from '../cli/common-options.ts';
import { withStore } from '../cli/open-store.ts';
import type { StatsOptions } from './stats-options.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';
import { dayLine } from './day-line.ts';
import { statsTable, type Terminal } from './stats-table.ts';

/** The options with the default range filled in. */
interface Question extends StatsOptions {
  readonly range: DateRange;
  /** Ends a request. */
  readonly stop: AbortSignal;
}

const requestMsMax = 30_000;
const answerBytesMax = 256 * 1024 * 1024;

/** Prints the counters, with `watchMs` again and again until a signal. Returns the exit code. */
export async function stats(options: StatsOptions): Promise<number> {
  const { watchMs } = options;
  const stopping = new AbortController();
  const { signal: stop } = stopping;
  if (watchMs === undefined) return await show(options, stop);
  process.once('SIGINT', () => stopping.abort()).once('SIGTERM', () => stopping.abort());
  try {
    await show(options, stop);
    for (;;) {
      await delay(watchMs, undefined, { signal: stop });
      await show(options, stop).catch((error: unknown) => {
        stop.throwIfAborted();
        // It responded before, so it may be restarting.
        const text = error instanceof Error ? error.message : String(error);
        note(`${text.replace(/[.]?$/, '.')} Next try in ${withThousands(watchMs / 1000)} s.`);
      });
    }
  } catch (error) {
    if (!stop.aborted) throw error;
  }
  return 0;
}

async function show(options: StatsOptions, stop: AbortSignal): Promise<number> {
  const { source, range = lastWeek(), watchMs } = options;
  if (options.range === undefined && watchMs === undefined)
    note(
      `the last 7 days${beyondToday(range)}, ${range.from} to ${range.to}; choose others with --from and --to`,
    );
  const question = { ...options, range, stop };
  const text = await textOf(await readRowsOf(source, question), question);
  process.stdout.write(watchMs === undefined ? text : headed(text, question));
  return 0;
}

/** The part of a `lastWeek` besides seven days, as text. */
function beyondToday({ from, to }: DateRange): string {
  const days = (Date.parse(to) - Date.parse(from)) / dayMs + 1;
  return days > 7 ? ' and tomorrow, which has begun in some time zones' : '';
}

/** The watched source, and when the counts were read. On a terminal it replaces the previous output. */
function headed(text: string, { source, range }: Question): string {
  const place = 'url' in source ? `${source.url}: ` : '';
  const days = range.from === range.to ? range.from : `${range.from} to ${range.to}`;
  const time = `${new Date().toISOString().slice(11, 19)}Z`;
  // Moves to the upper left and clears the rest.
  const clear = process.stdout.isTTY ? '\u001b[H\u001b[J' : '';
  return `${clear}${place}${days}, read at ${time}\n${text}`;
}

/** The lines that a watched table needs besides its rows: heading, borders, head, total, days, cursor. */
const linesBesideRows = 9;
const rowsMin = 3;
/** On a narrower terminal, the heading and the line of days take two lines each. */
const linesWide = 80;

function terminalOf({ watchMs }: StatsOptions): Terminal | undefined {
  const { isTTY, columns, rows } = process.stdout;
  if (!isTTY) return undefined;
  // Some terminals do not report their size.
  const width = columns === 0 ? 80 : columns;
  const lines = linesBesideRows + (width < linesWide ? 2 : 0);
  const rowsMax = watchMs === undefined ? undefined : Math.max(rowsMin, rows - lines);
  return { width, rowsMax, isColourful: !process.env['NO_COLOR'] };
}

function readRowsOf(
  source: StatsOptions['source'],
  question: Question,
): Promise<readonly StatsRow[]> {
  return 'url' in source ? fetchRows(source, question) : readStore(source, question);
}

async function textOf(rows: readonly StatsRow[], question: Question): Promise<string> {
  const { format, groupBy = dimensions, hasByteOrderMark, range } = question;
  if (format === 'json') return `${jsonText(rows)}\n`;
  if (format === 'table') {
    if (rows.length === 0) return 'no counters\n';
    const terminal = terminalOf(question);
    const days =
      terminal !== undefined && groupBy.includes('date')
        ? dayLine(rows, range, terminal.width)
        : '';
    return (await statsTable(rows, groupBy, terminal)) + days;
  }
  const writer = new StatsWriter(groupBy, format, hasByteOrderMark && !process.stdout.isTTY);
  const text = writer.opening() + writer.piece(rows) + writer.closing();
  // Only a terminal needs escapes.
  return process.stdout.isTTY ? text.split(/\r?\n/).map(visible).join('\n') : text;
}

function readStore(
  place: StorePlace,
  { range, types, states, groupBy }: Question,
): Promise<readonly StatsRow[]> {
  return withStore(place, async (store) => {
    const counters = store.openCounters();
    const { pendingBytes } = counters;
    if (pendingBytes > 0)
      note(`${withThousands(pendingBytes)} bytes of the log are not counted yet`);
    const all: StatsRow[] = [];
    const groups = groupBy && new Groups(groupBy);
    await counters.query({ ...range, types, states }, (rows) => {
      if (groups === undefined) for (const row of rows) all.push(row);
      else groups.add(rows);
      return true;
    });
    return groups?.rows() ?? all;
  });
}

async function fetchRows(
  server: ServerSource,
  { range, types, states, groupBy, stop }: Question,
): Promise<StatsRow[]> {
  const parameters = new URLSearchParams({ ...range });
  for (const type of types) parameters.append('type', type);
  for (const state of states) parameters.append('state', state);
  if (groupBy !== undefined) parameters.append('group_by', groupBy.join(','));
  const { status, location, text } = await get(server, `/stats?${parameters.toString()}`, stop);
  if (status !== 200) {
    const { code, detail, title } = parseObject(text);
    const fallback = location === null ? text.slice(0, 200) : `it redirects to ${location}`;
    const reason = stringOr(detail, stringOr(title, fallback));
    const hint = addressHint(server.url, status);
    const named = typeof code === 'string' ? ` ${code}` : '';
    const why = reason === '' ? `; ${wrongServerHint}` : `: ${reason}`;
    throw new Error(`the server answered ${status}${named}${why}${hint}`);
  }
  return parseRows(text, groupBy ?? dimensions);
}

type ServerSource = Extract<StatsOptions['source'], { url: string }>;

async function get(
  { url, token }: ServerSource,
  path: string,
  stop: AbortSignal,
): Promise<{ status: number; location: string | null; text: string }> {
  try {
    const response = await requestOverHttp(`${url}${path}`, {
      method: 'GET',
      headers: { ...authorization(token), 'accept-encoding': 'gzip' },
      signal: AbortSignal.any([stop, AbortSignal.timeout(requestMsMax)]),
    });
    const location = response.headers.get('location');
    const text = await readText(response, answerBytesMax);
    return { status: response.status, location, text };
  } catch (error) {
    throw new Error(absence(url, describeFailure(error, requestMsMax)), { cause: error });
  }
}

/** @throws an Error if the response is too large, or not a list of counters. */
function parseRows(text: string, columns: readonly Dimension[]): StatsRow[] {
  // UTF-8 takes at most four bytes per UTF-16 unit, so shorter texts need no exact count.
  if (text.length >= answerBytesMax / 4 && Buffer.byteLength(text) >= answerBytesMax) {
    throw new Error(
      'the response is larger than 256 MiB; choose fewer days, or some types and states (--type, --state)',
    );
  }
  const rows = parseObject(`{"rows":${text}}`)['rows'];
  if (Array.isArray(rows) && rows.every((row) => isRow(row, columns))) return rows as StatsRow[];
  throw new Error(`the response is not a list of counters; ${wrongServerHint}`);
}

function isRow(value: unknown, columns: readonly Dimension[]): boolean {
  const row = (value ?? {}) as Record<string, unknown>;
  return columns.every((name) => typeof row[name] === 'string') && typeof row['count'] === 'number';
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}
