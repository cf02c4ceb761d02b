import type { Command } from 'commander';

import type { DateRange } from '../../pipeline/store-admin.ts';
import {
  dimensions,
  rowFormats,
  statsFormats,
  type Dimension,
  type StatsFormat,
} from '../../pipeline/stats/formats.ts';
import {
  addStoreOptions,
  isStoreNamed,
  option,
  setting,
  stackPlace,
  storePlace,
  tokenOption,
  type StorePlace,
} from '../cli/common-options.ts';
import { dateRange, firstDate } from '../cli/date-range.ts';
import {
  date,
  serverUrl,
  statsDimensions,
  UsageError,
  wholeNumber,
} from '../cli/option-parsers.ts';

/**
 * The options of `stats`. `source` is a server, a data directory or a store on AWS. `range` is undefined
 * for the last week; `groupBy` has the dimensions in their fixed order and is undefined for all.
 */
export interface StatsOptions {
  source: { url: string; token: string | undefined } | StorePlace;
  range: DateRange | undefined;
  types: readonly string[];
  states: readonly string[];
  groupBy: readonly Dimension[] | undefined;
  format: 'table' | StatsFormat;
  /** Whether CSV starts with a byte order mark. */
  hasByteOrderMark: boolean;
  /** Prints the counters again after this time, in milliseconds. */
  watchMs: number | undefined;
}

interface StatsValues extends Partial<Record<StatsFormat, true>> {
  date?: string;
  from?: string;
  to?: string;
  type?: string[];
  state?: string[];
  groupBy?: Dimension[];
  url?: string;
  token?: string;
  bom?: true;
  watch?: number | true;
}

/** Adds the options of `stats` to a command. */
export function addStatsOptions(command: Command): Command {
  command
    .addOption(option('--date <date>', 'one day', date))
    .addOption(option('--from <date>', 'the first day (default: a week ago)', date))
    .addOption(
      option('--to <date>', 'the last day (default: today, or tomorrow where it has begun)', date),
    )
    .option('--type <name...>', 'only these types')
    .option('--state <name...>', 'only these states')
    .addOption(
      option('--group-by <columns...>', 'sum by date, type, state or several', statsDimensions),
    )
    .addOption(
      option(
        '--watch [seconds]',
        'print the counters again every 2 seconds, or as often as given, until Ctrl-C',
        wholeNumber(1, 3_600),
      ),
    )
    .addOption(setting('--url <url>', 'query a server instead of a data directory', serverUrl))
    .addOption(tokenOption());
  addStoreOptions(command, 'table');
  for (const format of statsFormats)
    command.option(`--${format}`, `print the rows as ${rowFormats[format].title}`);
  return command.option('--bom', 'with --csv: start with a byte order mark, for Excel on Windows');
}

/** Returns the parsed options of `stats`. */
export function statsOptions(command: Command): StatsOptions {
  const values = command.opts<StatsValues>();
  const { type: types = [], state: states = [] } = values;
  const { bom = false } = values;
  const source = sourceOf(command);
  const range = dateRange(values.date, values.from, values.to);
  if ('url' in source && range?.from === firstDate) {
    throw new UsageError('a server returns at most 366 days; give --from, too');
  }
  if ('stack' in source && range?.from === firstDate) {
    throw new UsageError('a stack needs one query per day; give --from, too');
  }
  const groupBy = values.groupBy && dimensions.filter((name) => values.groupBy?.includes(name));
  const [format = 'table', second] = statsFormats.filter((name) => values[name]);
  if (second !== undefined) throw new UsageError(`give either --${format} or --${second}`);
  if (bom && format !== 'csv') throw new UsageError('--bom requires --csv');
  const watchMs = values.watch && (values.watch === true ? 2 : values.watch) * 1_000;
  if (watchMs !== undefined && format !== 'table') {
    throw new UsageError(`--watch shows a table; omit --${format}`);
  }
  return { source, range, types, states, groupBy, format, hasByteOrderMark: bom, watchMs };
}

function sourceOf(command: Command): StatsOptions['source'] {
  const { token, url } = command.opts<StatsValues>();
  const isTyped = (name: string) => command.getOptionValueSource(name) === 'cli';
  if (isTyped('dataDir') && isTyped('url')) {
    throw new UsageError('--url and --data-dir name two sources; give only one');
  }
  if (stackPlace(command, 'table') !== undefined && (isTyped('dataDir') || isTyped('url'))) {
    throw new UsageError('--stack and --table read the counters on AWS; omit --url and --data-dir');
  }
  // An option takes precedence over the environment.
  const isUrl = url !== undefined && !isStoreNamed(command);
  return isUrl ? { url, token } : storePlace(command, 'table');
}
