import type { Command } from 'commander';

import { count, option, tokenOption, urlOption } from '../cli/common-options.ts';
import { positiveNumber, serverUrl, timestamp, UsageError } from '../cli/option-parsers.ts';

/** The options of `feed`. */
export interface FeedOptions {
  url: string;
  batches: number;
  items: number;
  /** Items per second; undefined: as fast as the server responds. */
  rate?: number;
  concurrency: number;
  seed?: string;
  days: number;
  /** Milliseconds since 1970. */
  until?: number;
  token?: string;
  json?: true;
}

/** Adds the argument and the options of `feed` to a command. */
export function addFeedOptions(command: Command): Command {
  const rate = 'items per second (default: as fast as the server responds)';
  return command
    .argument('[url]', 'the URL of the server, like --url', serverUrl('url'))
    .addOption(urlOption())
    .addOption(count('--batches <number>', 'how many requests to send', 1e9, 100))
    .addOption(count('--items <number>', 'items in each request', 1e6, 100))
    .addOption(option('--rate <number>', rate, positiveNumber))
    .addOption(count('--concurrency <number>', 'requests at a time', 256, 4))
    .option('--seed <text>', 'with --until: generate the same events again (default: random)')
    .addOption(count('--days <number>', 'the number of days that timestamps span', 36_500, 7))
    .addOption(option('--until <timestamp>', 'the latest timestamp (default: now)', timestamp))
    .addOption(tokenOption())
    .option('--json', 'print the summary as JSON');
}

/** Returns the parsed options of `feed`; `address` is its argument. */
export function feedOptions(command: Command, address: string | undefined): FeedOptions {
  const options = command.opts<FeedOptions>();
  if (address === undefined) return options;
  if (command.getOptionValueSource('url') === 'cli') {
    throw new UsageError('the URL of the server is given twice; omit --url');
  }
  return { ...options, url: address };
}
