import { isIP } from 'node:net';

import { Option, type Command } from 'commander';

import { rateMax, type RateLimit } from '../../auth/access-token.ts';
import { countersPerDayMaxDefault } from '../../domain/day-bound.ts';
import { dataDirOption, defaultBodyBytesMax, setting } from '../cli/common-options.ts';
import {
  dayZone,
  daysToKeep,
  hosts,
  nonEmpty,
  oneOf,
  origins,
  rate,
  size,
  UsageError,
  wholeNumber,
  yesOrNo,
} from '../cli/option-parsers.ts';
import {
  logFormats,
  logLevels,
  type LogFormat,
  type LogLevel,
  type LogSettings,
} from './log-settings.ts';

/** What `serve` needs to know. `keepRawDays` is undefined where raw bodies are kept for ever. */
export interface ServeOptions {
  host: string;
  port: number;
  dataDir: string;
  /** Undefined: that of the store, and `as-written` for a new one. */
  dayZone: string | undefined;
  maxBodyBytes: number;
  maxBacklogBytes: number;
  maxCountersPerDay: number;
  keepReceiptsDays: number;
  keepRawDays: number | undefined;
  /** Whether anybody may ask while the data directory has no token. */
  isOpenWithoutTokens: boolean;
  /** For each token that has none of its own; undefined: no limit. */
  rate: RateLimit | undefined;
  /** Names by which it is asked beside `localhost` and addresses, where no token is asked for. */
  allowedHosts: readonly string[];
  corsOrigins: readonly string[];
  log: LogSettings;
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
  logLevel: LogLevel;
  logFormat: LogFormat;
}

const insecureVariable = 'DEVICE_PIPELINE_INSECURE';

/** Adds the options of `serve` to a command; each can also be given by an environment variable. */
export function addServeOptions(command: Command): Command {
  const port = wholeNumber(0, 65_535);
  const days = wholeNumber(1, 36_500);
  const options = [
    setting('--host <address>', 'the address to listen on', nonEmpty).default('127.0.0.1'),
    setting('--port <number>', 'the port; 0 takes any free one', port).default(8080),
    dataDirOption(),
    setting(
      '--day-zone <zone>',
      "on which day an item counts: as-written, UTC, or a time zone such as Europe/Berlin; fixed when the store is created (default: the store's own; as-written for a new one)",
      dayZone,
    ),
    // Not a setting: commander takes a flag for set whatever its variable says.
    new Option(
      '--insecure',
      `listen beyond this machine without any token too, if none was ever made (env: ${insecureVariable}=1)`,
    ),
    setting('--max-body <size>', 'the largest request body', size).default(
      defaultBodyBytesMax,
      '4MiB',
    ),
    setting(
      '--max-backlog <size>',
      'how much may wait before the server answers 503',
      size,
    ).default(128 * 1024 * 1024, '128MiB'),
    setting(
      '--max-counters-per-day <number>',
      'how many distinct counters a day may have; beyond, items with new ones are refused',
      wholeNumber(1, 10_000_000),
    ).default(countersPerDayMaxDefault),
    setting('--keep-receipts <days>', 'how long receipts and idempotency keys live', days).default(
      90,
    ),
    setting('--keep-raw <days>', 'how long raw bodies live', daysToKeep(1, 36_500)).default(
      'forever',
    ),
    setting('--rate-limit <number>', 'requests a second with each token (default: no limit)', rate),
    setting(
      '--rate-burst <number>',
      'requests at once with each token (default: those of a second)',
      wholeNumber(1, rateMax),
    ),
    setting(
      '--allowed-host <name...>',
      'without tokens, answer to these names too, not only to localhost and addresses',
      hosts,
    ),
    setting('--cors-origin <origin...>', 'web pages of these origins may ask too', origins),
    setting(
      '--log-level <level>',
      `what is logged: ${logLevels.join(', ')}`,
      oneOf(logLevels),
    ).default('info'),
    setting(
      '--log-format <format>',
      'how: json, text, or auto (text on a terminal)',
      oneOf(logFormats),
    ).default('auto'),
  ];
  for (const option of options) command.addOption(option);
  return command;
}

/** The options of `serve` as parsed, and `--insecure` also from the environment. */
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
      `Receipts live as long as the raw batches: --keep-raw ${keepRawDays} is shorter than ` +
        `--keep-receipts ${keepReceiptsDays}. Make --keep-receipts shorter too.`,
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
  };
}

function rateLimit({ rateLimit: perSecond, rateBurst }: ServeValues): RateLimit | undefined {
  if (perSecond === undefined) {
    if (rateBurst === undefined) return undefined;
    throw new UsageError('--rate-burst is of no use without --rate-limit');
  }
  return { perSecond, burst: rateBurst ?? Math.ceil(perSecond) };
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}
