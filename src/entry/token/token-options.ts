import type { Command } from 'commander';

import { rateMax, type Scope } from '../../auth/access-token.ts';
import { dataDirOption, option } from '../cli/common-options.ts';
import {
  duration,
  rate,
  timestamp,
  tokenName,
  tokenScopes,
  UsageError,
  wholeNumber,
} from '../cli/option-parsers.ts';

/** The options of `token create`. */
export interface TokenCreateOptions {
  dataDir: string;
  name: string;
  for: readonly Scope[];
  /** Milliseconds since 1970; undefined: never. */
  expires?: number;
  /** Requests per second. */
  rate?: number;
  /** Requests at once. */
  burst?: number;
  /** Print the token and its entry only; leave the data directory unchanged. */
  printEntry?: true;
}

/** Adds the options of `token create` to a command. */
export function addTokenCreateOptions(command: Command): Command {
  return command
    .addOption(option('--name <name>', 'who uses the token', tokenName).makeOptionMandatory())
    .addOption(
      option(
        '--for <scope>',
        'its scopes: ingest, read, replay; repeat the option or separate with commas',
        tokenScopes,
      ).makeOptionMandatory(),
    )
    .addOption(option('--expires <when>', 'a duration (90d, 12h, 30m) or a time', expiry))
    .addOption(option('--rate <number>', 'requests per second, instead of --rate-limit', rate))
    .addOption(
      option(
        '--burst <number>',
        'requests at once (default: those of one second)',
        wholeNumber(1, rateMax),
      ),
    )
    .option('--print-entry', 'print the token and its entry for the AWS secret; store nothing')
    .addOption(dataDirOption());
}

/** Returns the parsed options of `token create`. */
export function tokenCreateOptions(command: Command): TokenCreateOptions {
  const options = command.opts<TokenCreateOptions>();
  if (options.rate === undefined && options.burst !== undefined) {
    throw new UsageError('--burst requires --rate');
  }
  if (options.printEntry && options.rate !== undefined) {
    throw new UsageError('tokens on AWS have no rate limit of their own; omit --rate');
  }
  return options;
}

/** A parser of expiry times, given as a duration from now or as a time, to milliseconds since 1970. */
function expiry(flag: string): (text: string) => number {
  return (text) => {
    const isSpan = /^\d+[a-z]$/.test(text);
    const at = isSpan ? Date.now() + duration(flag)(text) : timestamp(flag)(text);
    if (at > Date.now()) return at;
    throw new UsageError(`${flag} must be in the future, got '${text}'`);
  };
}
