import type { Command } from 'commander';

import { rateMax, type RateLimit, type Scope } from '../../auth/access-token.ts';
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

/** What `token create` needs to know. */
export interface TokenCreateOptions {
  dataDir: string;
  name: string;
  scopes: readonly Scope[];
  /** Milliseconds since 1970; undefined: never. */
  expiresAt: number | undefined;
  rate: RateLimit | undefined;
  /** Only print the token and its entry; the data directory is not touched. */
  printEntry: boolean;
}

interface TokenCreateValues {
  dataDir: string;
  name: string;
  for: Scope[];
  expires?: number;
  rate?: number;
  burst?: number;
  printEntry?: true;
}

/** Adds the options of `token create` to a command. */
export function addTokenCreateOptions(command: Command): Command {
  return command
    .addOption(option('--name <name>', 'whose it is', tokenName).makeOptionMandatory())
    .addOption(
      option(
        '--for <scope>',
        'ingest, read, replay, or several: repeated or with a comma',
        tokenScopes,
      ).makeOptionMandatory(),
    )
    .addOption(option('--expires <when>', 'after 90d, 12h or 30m, or at a time', expiry))
    .addOption(option('--rate <number>', 'requests a second, instead of --rate-limit', rate))
    .addOption(
      option(
        '--burst <number>',
        'requests at once (default: those of a second)',
        wholeNumber(1, rateMax),
      ),
    )
    .option('--print-entry', 'print it with its entry for the secret on AWS; store nothing')
    .addOption(dataDirOption());
}

/** The options of `token create` as parsed. */
export function tokenCreateOptions(command: Command): TokenCreateOptions {
  const values = command.opts<TokenCreateValues>();
  const { dataDir, name, for: scopes, expires: expiresAt, printEntry = false } = values;
  const { rate: perSecond, burst } = values;
  if (perSecond === undefined && burst !== undefined) {
    throw new UsageError('--burst is of no use without --rate');
  }
  if (printEntry && perSecond !== undefined) {
    throw new UsageError('on AWS no token has a rate of its own: leave --rate out');
  }
  const limit =
    perSecond === undefined ? undefined : { perSecond, burst: burst ?? Math.ceil(perSecond) };
  return { dataDir, name, scopes, expiresAt, rate: limit, printEntry };
}

/** A parser of ends, from now on or as a time, to milliseconds since 1970. */
function expiry(flag: string): (text: string) => number {
  return (text) => {
    const isSpan = /^\d+[a-z]$/.test(text);
    const at = isSpan ? Date.now() + duration(flag)(text) : timestamp(flag)(text);
    if (at > Date.now()) return at;
    throw new UsageError(`${flag} must be in the future, got '${text}'`);
  };
}
