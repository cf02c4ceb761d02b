import {
  absence,
  authorization,
  describeFailure,
  parseObject,
  readText,
  stringOr,
} from '../client/post-batch.ts';
import { StatsText } from '../pipeline/stats-text.ts';
import type { DateRange, StatsOptions } from './stats-options.ts';
import { jsonText, visible } from './terminal-text.ts';

interface Row {
  readonly date: string;
  readonly type: string;
  readonly state: string;
  readonly count: number;
}

const requestMsMax = 30_000;
const answerBytesMax = 256 * 1024 * 1024;
const dayMs = 86_400_000;

/** Prints the counters. Returns the exit code. */
export async function stats(options: StatsOptions): Promise<number> {
  const { source } = options;
  const rows =
    'url' in source ? await fetchRows(source, options) : await readLocal(source.dataDir, options);
  process.stdout.write(await textOf(rows, options.format));
  return 0;
}

async function textOf(rows: readonly Row[], format: StatsOptions['format']): Promise<string> {
  switch (format) {
    case 'json':
      return `${jsonText(rows)}\n`;
    case 'csv': {
      const stats = new StatsText(undefined, 'csv');
      stats.add(rows);
      // Into a file it goes as it is.
      return process.stdout.isTTY
        ? stats.text().split('\r\n').map(visible).join('\n')
        : stats.text();
    }
    case 'table':
      return rows.length === 0 ? 'nothing counted\n' : `${await table(rows)}\n`;
  }
}

async function readLocal(dataDir: string, options: StatsOptions): Promise<readonly Row[]> {
  const { withLocalStore } = await import('./local-store.ts');
  return withLocalStore(dataDir, () => readRows(dataDir, options));
}

async function readRows(dataDir: string, options: StatsOptions): Promise<readonly Row[]> {
  const { openStatsReader } = await import('../engines/embedded/stats-reader.ts');
  const reader = openStatsReader(dataDir);
  try {
    const dates = reader.dates();
    const range = options.range ?? (dates && { from: dates.first, to: dates.last });
    const pendingBytes = reader.pendingBytes();
    if (pendingBytes > 0)
      note(`${pendingBytes.toLocaleString('en-US')} bytes of the log are not counted yet`);
    return range === undefined
      ? []
      : [...reader.query({ ...range, types: options.types, states: options.states })].flat();
  } finally {
    reader.close();
  }
}

async function fetchRows(server: ServerSource, options: StatsOptions): Promise<Row[]> {
  const range = options.range ?? lastWeek();
  if (options.range === undefined)
    note(`the last 7 days, ${range.from} to ${range.to}; --from and --to give others`);
  const parameters = new URLSearchParams({ ...range });
  for (const type of options.types) parameters.append('type', type);
  for (const state of options.states) parameters.append('state', state);
  const { status, text } = await get(server, `/stats?${parameters.toString()}`);
  if (status !== 200) {
    const { code, detail, title } = parseObject(text);
    const reason = stringOr(detail, stringOr(title, text.slice(0, 200)));
    throw new Error(`the server answered ${status} ${stringOr(code, '')}: ${reason}`);
  }
  return parseRows(text);
}

type ServerSource = Extract<StatsOptions['source'], { url: string }>;

async function get(
  { url, token }: ServerSource,
  path: string,
): Promise<{ status: number; text: string }> {
  try {
    const response = await fetch(`${url}${path}`, {
      headers: authorization(token),
      redirect: 'manual',
      signal: AbortSignal.timeout(requestMsMax),
    });
    return { status: response.status, text: await readText(response, answerBytesMax) };
  } catch (error) {
    throw new Error(absence(url, describeFailure(error, requestMsMax).reason), { cause: error });
  }
}

/** @throws where it is another's answer, or was cut at the bound. */
function parseRows(text: string): Row[] {
  // No text of so few characters has so many bytes.
  if (text.length >= answerBytesMax / 4 && Buffer.byteLength(text) >= answerBytesMax) {
    throw new Error(
      'the answer is larger than 256 MiB; name fewer days, or some types and states (--type, --state)',
    );
  }
  const rows = parseObject(`{"rows":${text}}`)['rows'];
  if (Array.isArray(rows) && rows.every(isRow)) return rows;
  throw new Error('the answer is not one of device-pipeline; is this its address?');
}

function isRow(value: unknown): value is Row {
  const { date, type, state, count } = (value ?? {}) as Record<string, unknown>;
  return [date, type, state].every((text) => typeof text === 'string') && typeof count === 'number';
}

/** No clock that is right is further ahead of UTC. */
const aheadMsMax = 14 * 3_600_000;

/** Today in UTC and the six days before it, and tomorrow where it has begun somewhere. */
function lastWeek(): DateRange {
  const day = (at: number) => new Date(at).toISOString().slice(0, 10);
  return { from: day(Date.now() - 6 * dayMs), to: day(Date.now() + aheadMsMax) };
}

async function table(rows: readonly Row[]): Promise<string> {
  const { default: CliTable } = await import('cli-table3');
  // cli-table3 colours by itself, also into a file.
  const isColourful = process.stdout.isTTY && !process.env['NO_COLOR'];
  const output = new CliTable({
    head: ['date', 'type', 'state', 'count'],
    colAligns: ['left', 'left', 'left', 'right'],
    style: {
      head: isColourful ? ['bold'] : [],
      border: isColourful ? ['gray'] : [],
      compact: true,
    },
  });
  for (const { date, type, state, count } of rows) {
    output.push([visible(date), visible(type), visible(state), count.toLocaleString('en-US')]);
  }
  const total = rows.reduce((sum, { count }) => sum + count, 0);
  output.push([{ colSpan: 3, content: 'total' }, total.toLocaleString('en-US')]);
  return output.toString();
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}
