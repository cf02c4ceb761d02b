import { homedir } from 'node:os';
import { join } from 'node:path';

import type { Command } from 'commander';

import type { AuditOptions, RebuildOptions } from '../../pipeline/store-admin.ts';
import {
  addStoreOptions,
  count,
  option,
  storePlace,
  type StorePlace,
} from '../cli/common-options.ts';
import { addReceivedOptions, dateRange, receivedRange } from '../cli/date-range.ts';
import { archiveUrl, date, nonEmpty, UsageError, wholeNumber } from '../cli/option-parsers.ts';

/** The options of `audit`. */
export interface AuditCommandOptions extends AuditOptions {
  readonly place: StorePlace;
  /** The URL of the archive to compare, too. */
  readonly archive?: string | undefined;
  readonly json: boolean;
}

interface AuditValues {
  date?: string;
  from?: string;
  to?: string;
  since?: number;
  until?: number;
  threads?: number;
  archive?: string;
  json?: true;
}

/** Adds the options of `audit` to a command. */
export function addAuditOptions(command: Command): Command {
  command
    .addOption(option('--date <date>', 'compare the counters of one day', date))
    .addOption(option('--from <date>', 'the first day to compare (default: any)', date))
    .addOption(
      option(
        '--to <date>',
        'the last day (default with --from: today, or tomorrow where it has begun)',
        date,
      ),
    );
  addStoreOptions(addReceivedOptions(command), 'bucket', 'table', 'ledger')
    .addOption(option('--threads <number>', 'how many threads read the log', wholeNumber(1, 64)))
    .addOption(
      option('--archive <url>', 'also check the archive, and compare it with the log', archiveUrl),
    )
    .option('--json', 'print the result as JSON');
  return addRequestOptions(command);
}

/** Returns the parsed options of `audit`. */
export function auditOptions(command: Command): AuditCommandOptions {
  const {
    date: day,
    from,
    to,
    threads,
    archive,
    json = false,
    ...values
  } = command.opts<AuditValues>();
  const dates = dateRange(day, from, to);
  const received = receivedRange(values);
  if (dates !== undefined && received !== undefined) {
    throw new UsageError(
      '--date, --from and --to select counters, --since and --until select batches; give only one kind',
    );
  }
  const place = storePlace(command, 'bucket', 'table', 'ledger');
  if (archive !== undefined && place.stack !== undefined) {
    throw new UsageError('--archive requires a data directory: a stack has no archive');
  }
  return { place, archive, dates, received, threads, json, ...requestOptions(command) };
}

/** The options of `rebuild`. */
export interface RebuildCommandOptions extends RebuildOptions {
  readonly place: StorePlace;
  /** Drop or restore the old counters of the last rebuild, instead of another rebuild. */
  readonly replaced: 'drop' | 'restore' | undefined;
  readonly json: boolean;
}

interface RebuildValues {
  dryRun?: true;
  withoutDamaged?: true;
  dropOld?: true;
  restoreOld?: true;
  from?: string;
  to?: string;
  workDir?: string;
  json?: true;
}

/** Adds the options of `rebuild` to a command. */
export function addRebuildOptions(command: Command): Command {
  command
    .option('--dry-run', 'show what would change, and change nothing')
    .option('--without-damaged', 'skip batches whose raw bodies are damaged')
    .option('--drop-old', 'drop the old counters of the last rebuild')
    .option('--restore-old', 'restore the old counters of the last rebuild (stack only)')
    .addOption(option('--from <date>', 'the first day to correct (stack only; default: any)', date))
    .addOption(
      option(
        '--to <date>',
        'the last day (stack only; default with --from: today, or tomorrow where it has begun)',
        date,
      ),
    )
    .addOption(
      option('--work-dir <directory>', 'the directory for work files (stack only)', nonEmpty),
    );
  addStoreOptions(command, 'bucket', 'table', 'ledger').option(
    '--json',
    'print the result as JSON',
  );
  return addRequestOptions(command);
}

/** Returns the parsed options of `rebuild`. */
export function rebuildOptions(command: Command): RebuildCommandOptions {
  const values = command.opts<RebuildValues>();
  const { dryRun = false, withoutDamaged = false, dropOld = false, restoreOld = false } = values;
  const { from, to, workDir = defaultWorkDir(), json = false } = values;
  const place = storePlace(command, 'bucket', 'table', 'ledger');
  if ((dropOld || restoreOld) && (dryRun || withoutDamaged || (dropOld && restoreOld))) {
    throw new UsageError(
      '--drop-old and --restore-old cannot be combined with each other, --dry-run or --without-damaged',
    );
  }
  if (place.stack === undefined && (restoreOld || from !== undefined || to !== undefined)) {
    throw new UsageError('--restore-old, --from and --to require --stack');
  }
  return {
    ...{ place, dryRun, withoutDamaged, workDir, json },
    replaced: dropOld ? 'drop' : restoreOld ? 'restore' : undefined,
    dates: dateRange(undefined, from, to),
    ...requestOptions(command),
  };
}

/** The state directory of the XDG Base Directory Specification, which survives restarts. */
function defaultWorkDir(): string {
  const state = process.env['XDG_STATE_HOME'] ?? join(homedir(), '.local', 'state');
  return join(state, 'device-pipeline');
}

interface RequestValues {
  parallel: number;
  maxRequests: number;
  inFlight: number;
}

const minuteMs = 60_000;
/** The sweeper checks a batch after 15 minutes, and may then have to send its messages again. */
const inFlightMinutes = 30;

/** How `audit` and `rebuild` read a stack. */
function addRequestOptions(command: Command): Command {
  return command
    .addOption(count('--parallel <n>', 'concurrent requests to AWS (stack only)', 256, 32))
    .addOption(
      count('--max-requests <n>', 'requests per second to AWS (stack only)', 100_000, 1_000),
    )
    .addOption(
      option(
        '--in-flight <minutes>',
        'how old a batch must be to count as missing (stack only)',
        wholeNumber(0, 1_000_000),
      ).default(inFlightMinutes),
    );
}

function requestOptions(command: Command) {
  const { parallel, maxRequests, inFlight } = command.opts<RequestValues>();
  return { width: parallel, requestsPerSecond: maxRequests, inFlightMs: inFlight * minuteMs };
}
