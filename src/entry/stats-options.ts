import type { Command } from 'commander';

import { dataDirOption, option, tokenOption } from './common-options.ts';
import { date, serverUrl, UsageError } from './option-parsers.ts';

/**
 * What `stats` needs to know. `source` is a server or a data directory; without `range`, it is the
 * last week of the one or all dates of the other.
 */
export interface StatsOptions {
  source: { url: string; token: string | undefined } | { dataDir: string };
  range: DateRange | undefined;
  types: readonly string[];
  states: readonly string[];
  format: 'table' | 'json' | 'csv';
  /** Whether CSV begins with a byte order mark. */
  hasMark: boolean;
}

/** Dates as in `2023-06-16`, both included. */
export interface DateRange {
  readonly from: string;
  readonly to: string;
}

interface StatsValues {
  date?: string;
  from?: string;
  to?: string;
  type?: string[];
  state?: string[];
  url?: string;
  token?: string;
  dataDir: string;
  json?: true;
  csv?: true;
  bom?: true;
}

/** Adds the options of `stats` to a command. */
export function addStatsOptions(command: Command): Command {
  return command
    .addOption(option('--date <date>', 'one day', date))
    .addOption(option('--from <date>', 'the first day', date))
    .addOption(option('--to <date>', 'the last day', date))
    .option('--type <name...>', 'only these types')
    .option('--state <name...>', 'only these states')
    .addOption(option('--url <url>', 'ask a server, not the data directory', serverUrl))
    .addOption(tokenOption())
    .addOption(dataDirOption())
    .option('--json', 'print the rows as JSON')
    .option('--csv', 'print the rows as CSV')
    .option('--bom', 'with --csv: begin with a byte order mark, for Excel on Windows');
}

/** The options of `stats` as parsed. */
export function statsOptions(command: Command): StatsOptions {
  const values = command.opts<StatsValues>();
  const { url, token, dataDir, type: types = [], state: states = [] } = values;
  const { json, csv, bom = false } = values;
  if (url !== undefined && command.getOptionValueSource('dataDir') === 'cli') {
    throw new UsageError('--url asks a server and --data-dir reads a directory; give one of them');
  }
  const source = url === undefined ? { dataDir } : { url, token };
  const range = statsRange(values.date, values.from, values.to);
  if (json && csv) throw new UsageError('give either --json or --csv');
  if (bom && !csv) throw new UsageError('--bom goes with --csv');
  const format = json ? 'json' : csv ? 'csv' : 'table';
  return { source, range, types, states, format, hasMark: bom };
}

/** The dates asked for; undefined where none are. */
export function statsRange(
  date: string | undefined,
  from: string | undefined,
  to: string | undefined,
): DateRange | undefined {
  if (date !== undefined) {
    if (from === undefined && to === undefined) return { from: date, to: date };
    throw new UsageError('--date is for one day; give either --date or --from and --to');
  }
  if (from === undefined && to === undefined) return undefined;
  if (from === undefined || to === undefined) throw new UsageError('--from and --to go together');
  if (from > to) throw new UsageError(`--from ${from} is after --to ${to}`);
  return { from, to };
}
