import type { Command } from 'commander';

import { count, defaultUrl, option, setting, tokenOption } from '../cli/common-options.ts';
import { positiveNumber, serverUrl, timestamp, UsageError } from '../cli/option-parsers.ts';

/**
 * What `feed` needs to know. `rate` is in items a second; without it, as fast as the server
 * answers.
 */
export interface FeedOptions {
  url: string;
  batches: number;
  items: number;
  rate: number | undefined;
  concurrency: number;
  seed: string | undefined;
  days: number;
  untilMs: number | undefined;
  token: string | undefined;
  json: boolean;
}

interface FeedValues {
  url: string;
  batches: number;
  items: number;
  rate?: number;
  concurrency: number;
  seed?: string;
  days: number;
  until?: number;
  token?: string;
  json?: true;
}

/** Adds the argument and the options of `feed` to a command. */
export function addFeedOptions(command: Command): Command {
  const rate = 'items a second (default: as fast as it goes)';
  return command
    .argument('[url]', 'the address of the server, as --url', serverUrl('url'))
    .addOption(setting('--url <url>', 'the address of the server', serverUrl).default(defaultUrl))
    .addOption(count('--batches <number>', 'how many requests to send', 1e9, 100))
    .addOption(count('--items <number>', 'items in each request', 1e6, 100))
    .addOption(option('--rate <number>', rate, positiveNumber))
    .addOption(count('--concurrency <number>', 'requests at a time', 256, 4))
    .option('--seed <text>', 'makes the events repeatable, together with --until (default: random)')
    .addOption(count('--days <number>', 'how far back the timestamps go', 36_500, 7))
    .addOption(option('--until <timestamp>', 'where they end (default: now)', timestamp))
    .addOption(tokenOption())
    .option('--json', 'print the summary as JSON');
}

/** The options of `feed` as parsed; `address` is its argument. */
export function feedOptions(command: Command, address: string | undefined): FeedOptions {
  const { until: untilMs, rate, seed, token, json = false, ...rest } = command.opts<FeedValues>();
  if (address !== undefined && command.getOptionValueSource('url') === 'cli') {
    throw new UsageError('the address of the server is given twice; leave --url out');
  }
  return { ...rest, url: address ?? rest.url, rate, seed, untilMs, token, json };
}
