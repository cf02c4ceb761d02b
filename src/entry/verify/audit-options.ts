import type { Command } from 'commander';

import { addStoreOptions, option, storePlace, type StorePlace } from '../cli/common-options.ts';
import { dateRange, type DateRange } from '../cli/date-range.ts';
import { date, timestamp, UsageError, wholeNumber } from '../cli/option-parsers.ts';
import {
  addStackAuditOptions,
  stackAuditOptions,
  type StackAuditOptions,
} from './stack-options.ts';

/** The options of `audit`. */
export interface AuditCommandOptions {
  place: StorePlace;
  /** The counters to compare; undefined: all. */
  dates: DateRange | undefined;
  /** Read batches received in this range (milliseconds since 1970, `to` excluded); undefined: all. */
  received: { from: number; to: number } | undefined;
  /** How many threads read the log; undefined: chosen by the engine. */
  threads: number | undefined;
  json: boolean;
  stackAudit: StackAuditOptions;
}

interface AuditValues {
  date?: string;
  from?: string;
  to?: string;
  since?: number;
  until?: number;
  threads?: number;
  json?: true;
}

/** Adds the options of `audit` to a command. */
export function addAuditOptions(command: Command): Command {
  command
    .addOption(option('--date <date>', 'compare the counters of one day', date))
    .addOption(option('--from <date>', 'the first day to compare (default: any)', date))
    .addOption(option('--to <date>', 'the last day (default with --from: today)', date));
  addStoreOptions(addReceivedOptions(command), 'bucket', 'table', 'ledger')
    .addOption(option('--threads <number>', 'how many threads read the log', wholeNumber(1, 64)))
    .option('--json', 'print the result as JSON');
  return addStackAuditOptions(command);
}

/** `--since` and `--until`, for every command that selects batches by time of receipt. */
export function addReceivedOptions(command: Command): Command {
  return command
    .addOption(option('--since <time>', 'only batches received at this time or later', timestamp))
    .addOption(option('--until <time>', 'only batches received before this time', timestamp));
}

/** Returns the parsed options of `audit`. */
export function auditOptions(command: Command): AuditCommandOptions {
  const { date: day, from, to, threads, json = false, ...values } = command.opts<AuditValues>();
  const dates = dateRange(day, from, to);
  const received = receivedRange(values);
  if (dates !== undefined && received !== undefined) {
    throw new UsageError(
      '--date, --from and --to select counters, --since and --until select batches; give only one kind',
    );
  }
  const place = storePlace(command, 'bucket', 'table', 'ledger');
  return { place, dates, received, threads, json, stackAudit: stackAuditOptions(command) };
}

export function receivedRange({
  since,
  until,
}: {
  since?: number;
  until?: number;
}): { from: number; to: number } | undefined {
  if (since === undefined && until === undefined) return undefined;
  const range = { from: since ?? 0, to: until ?? Number.MAX_SAFE_INTEGER };
  if (range.from < range.to) return range;
  throw new UsageError('--since must be before --until');
}
