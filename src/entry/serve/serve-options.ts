import { isIP } from 'node:net';

import { Option, type Command } from 'commander';

import { rateMax, type RateLimit } from '../../auth/token.ts';
import type { ArchiveOptions } from '../../engines/embedded/archive/archive-messages.ts';
import { archiveOptions, serveArchiveOptions } from '../archive/archive-options.ts';
import { countersPerDayMaxDefault } from '../../domain/day-bound.ts';
import { dataDirOption, defaultBodyBytesMax, setting } from '../cli/common-options.ts';
import {
  dayZone,
  daysToKeep,
  hosts,
  listenAddress,
  oneOf,
  origins,
  rate,
  size,
  UsageError,
  wholeNumber,
  yesOrNo,
} from '../cli/option-parsers.ts';

const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const;
const logFormats = ['auto', 'json', 'text'] as const;

export interface LogSettings {
  readonly level: (typeof logLevels)[number];
  /** `auto`: text on a terminal, else JSON. */
  readonly format: (typeof logFormats)[number];
}

/** The options of `serve`. */
export interface ServeOptions {
  host: string;
  port: number;
  dataDir: string;
  /** Undefined: the day rule of the store, or `as-written` for a new one. */
  dayZone: string | undefined;
  maxBodyBytes: number;
  maxBacklogBytes: number;
  maxCountersPerDay: number;
  keepReceiptsDays: number;
  /** Undefined: forever. */
  keepRawDays: number | undefined;
  /** Whether requests need no token while the data directory has none. */
  isOpenWithoutTokens: boolean;
  /** The limit of each token without one of its own; undefined: no limit. */
  rate: RateLimit | undefined;
  /** Host names that requests may use besides `localhost` and IP addresses, if no token is required. */
  allowedHosts: readonly string[];
  corsOrigins: readonly string[];
  log: LogSettings;
  /** Undefined: the log is not archived. */
  archive: ArchiveOptions | undefined;
}

interface ServeValues {
  host: string;
  port: number;
  dataDir: string;
  dayZone?: string;
  insecure?: true;
  maxBody: number;
  maxBacklog: number;
  maxCountersPerDay: number;
  keepReceipts: number;
  keepRaw: number | 'forever';
  rateLimit?: number;
  rateBurst?: number;
  allowedHost?: string[];
  corsOrigin?: string[];
  logLevel: LogSettings['level'];
  logFormat: LogSettings['format'];
}

const insecureVariable = 'DEVICE_PIPELINE_INSECURE';

/** Adds the options of `serve` to a command; each can also be set by an environment variable. */
export function addServeOptions(command: Command): Command {
  const port = wholeNumber(0, 65_535);
  const days = wholeNumber(1, 36_500);
  const options = [
    setting('--host <address>', 'the address to listen on', listenAddress).default('127.0.0.1'),
    setting('--port <number>', 'the port; 0 picks a free one', port).default(8080),
    dataDirOption(),
    setting(
      '--day-zone <zone>',
      "the day rule: as-written, UTC, or a time zone such as Europe/Berlin; fixed when the store is created (default: the store's own; as-written for a new one)",
      dayZone,
    ),
    // Not a `setting`: commander would treat the flag as set whatever the variable's value is.
    new Option(
      '--insecure',
      `listen on non-loopback addresses even if no token exists (env: ${insecureVariable}=1)`,
    ),
    setting('--max-body <size>', 'the largest request body', size).default(
      defaultBodyBytesMax,
      '4MiB',
    ),
    setting(
      '--max-backlog <size>',
      'how much may wait to be counted before the server responds with 503',
      size,
    ).default(128 * 1024 * 1024, '128MiB'),
    setting(
      '--max-counters-per-day <number>',
      'how many counters a day may have; items that need a new one beyond that are rejected',
      wholeNumber(1, 10_000_000),
    ).default(countersPerDayMaxDefault),
    setting(
      '--keep-receipts <days>',
      'how long to keep receipts and idempotency keys',
      days,
    ).default(90),
    setting('--keep-raw <days>', 'how long to keep raw bodies', daysToKeep(1, 36_500)).default(
      'forever',
    ),
    setting('--rate-limit <number>', 'requests per second and token (default: no limit)', rate),
    setting(
      '--rate-burst <number>',
      'requests at once per token (default: those of one second)',
      wholeNumber(1, rateMax),
    ),
    setting(
      '--allowed-host <name...>',
      'if no token is required: accept these names in Host, besides localhost and the address of --host',
      hosts,
    ),
    setting('--cors-origin <origin...>', 'web origins that may send requests (CORS)', origins),
    setting(
      '--log-level <level>',
      `the least severe level to log: ${logLevels.join(', ')}`,
      oneOf(logLevels),
    ).default('info'),
    setting(
      '--log-format <format>',
      'the format of the log: json, text, or auto (text on a terminal)',
      oneOf(logFormats),
    ).default('auto'),
  ];
  for (const option of [...options, ...serveArchiveOptions()]) command.addOption(option);
  return command;
}

/** Returns the parsed options of `serve`, with `--insecure` also from the environment. */
export function serveOptions(
  command: Command,
  env: Record<string, string | undefined>,
): ServeOptions {
  const values = command.opts<ServeValues>();
  const { host, port, dataDir, keepReceipts: keepReceiptsDays, keepRaw } = values;
  const keepRawDays = keepRaw === 'forever' ? undefined : keepRaw;
  const isInsecure = values.insecure ?? yesOrNo(insecureVariable)(env[insecureVariable] ?? '');
  if (keepRawDays !== undefined && keepRawDays < keepReceiptsDays) {
    throw new UsageError(
      `--keep-raw ${keepRawDays} is shorter than --keep-receipts ${keepReceiptsDays}, but a receipt ` +
        `needs its raw batch. Make --keep-receipts shorter, too.`,
    );
  }
  return {
    host,
    port,
    dataDir,
    dayZone: values.dayZone,
    maxBodyBytes: values.maxBody,
    maxBacklogBytes: values.maxBacklog,
    maxCountersPerDay: values.maxCountersPerDay,
    keepReceiptsDays,
    keepRawDays,
    isOpenWithoutTokens: isInsecure || isLoopback(host),
    rate: rateLimit(values),
    allowedHosts: values.allowedHost ?? [],
    corsOrigins: values.corsOrigin ?? [],
    log: { level: values.logLevel, format: values.logFormat },
    archive: archiveOptions(command, keepRawDays),
  };
}

function rateLimit({ rateLimit: perSecond, rateBurst }: ServeValues): RateLimit | undefined {
  if (perSecond === undefined) {
    if (rateBurst === undefined) return undefined;
    throw new UsageError('--rate-burst requires --rate-limit');
  }
  return { perSecond, burst: rateBurst ?? Math.ceil(perSecond) };
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}
