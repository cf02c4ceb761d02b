import { isIP } from 'node:net';

import type { Command } from 'commander';

import { option } from '../../src/entry/cli/common-options.ts';
import {
  nonEmpty,
  oneOf,
  UsageError,
  wholeNumber,
  type ParserFor,
} from '../../src/entry/cli/option-parsers.ts';
import { compressedForms, type CompressedForm } from './gateway/api-event.ts';

/** The options of `aws:local`. An undefined number means the value of the template. */
export interface LocalOptions {
  readonly host: string;
  readonly port: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly kill: number;
  readonly seed: number;
  readonly sweepEvery?: number;
  readonly sweepAfter?: number;
  readonly visibilityTimeout?: number;
  readonly itemsPerMessage?: string;
  readonly compressedAs: CompressedForm;
  readonly throttle: boolean;
  readonly verbose?: true;
}

/** A parser of probabilities from 0 to 1. */
const chance: ParserFor<number> = (flag) => (text) => {
  const number = /^(0|1|0?\.\d{1,9}|1\.0+)$/.test(text) ? Number(text) : Number.NaN;
  if (number >= 0 && number <= 1) return number;
  throw new UsageError(`${flag} must be a probability from 0 to 1 such as 0.1, got '${text}'`);
};

/** Adds the options of `aws:local` to a command. */
export function addLocalOptions(command: Command): Command {
  const seed = wholeNumber(0, 2 ** 32 - 1);
  const port = wholeNumber(0, 65_535);
  const seconds = (from: number) => wholeNumber(from, 43_200);
  const randomly = (flags: string, what: string) =>
    option(flags, `the probability that ${what}`, chance).default(0);
  const options = [
    option('--host <address>', 'the loopback address to listen on', nonEmpty).default('127.0.0.1'),
    option('--port <number>', 'the port; 0 picks a free one', port).default(8080),
    randomly('--duplicate <chance>', 'a message is delivered twice'),
    randomly('--reorder <chance>', 'a batch of messages is shuffled'),
    randomly('--kill <chance>', 'an invocation of the process function is killed'),
    option('--seed <number>', 'the seed of these random decisions', seed).default(1),
    option('--sweep-every <seconds>', 'the interval between sweeps', seconds(1)),
    option('--sweep-after <seconds>', 'the age at which the sweeper checks a batch', seconds(0)),
    option(
      '--visibility-timeout <seconds>',
      'when an undeleted message is delivered again',
      seconds(1),
    ),
    option('--items-per-message <number>', '1 to 10000, or packed', nonEmpty),
    option(
      '--compressed-as <form>',
      'how the API passes compressed bodies on: base64, or text, which corrupts them',
      oneOf(compressedForms),
    ).default('base64'),
  ];
  for (const each of options) command.addOption(each);
  return command
    .option('--no-throttle', 'disable the throttling of the API')
    .option('--verbose', 'show the output of the functions, and each failed batch');
}

/** Returns the parsed options. The local stack requires no token, so only this machine may call it. */
export function localOptions(command: Command): LocalOptions {
  const options = command.opts<LocalOptions>();
  if (isLoopback(options.host)) return options;
  throw new UsageError(
    `${options.host} can be reached from other machines, and the emulated stack has no access ` +
      'control. Give a loopback address such as 127.0.0.1.',
  );
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}
