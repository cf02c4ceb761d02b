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

/** What `aws:local` needs to know. Without a number, it is as the template says. */
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

/** A parser of chances, from 0 to 1. */
const chance: ParserFor<number> = (flag) => (text) => {
  const number = /^(0|1|0?\.\d{1,9}|1\.0+)$/.test(text) ? Number(text) : Number.NaN;
  if (number >= 0 && number <= 1) return number;
  throw new UsageError(`${flag} must be a chance from 0 to 1 such as 0.1, got '${text}'`);
};

/** Adds the options of `aws:local` to a command. */
export function addLocalOptions(command: Command): Command {
  const seconds = (from: number) => wholeNumber(from, 43_200);
  const options = [
    option('--host <address>', 'the address to listen on, of this machine only', nonEmpty).default(
      '127.0.0.1',
    ),
    option('--port <number>', 'the port; 0 takes any free one', wholeNumber(0, 65_535)).default(
      8080,
    ),
    option('--duplicate <chance>', 'how often a message is delivered once more', chance).default(0),
    option('--reorder <chance>', 'how often a batch of messages is shuffled', chance).default(0),
    option('--kill <chance>', 'how often the process function is killed at work', chance).default(
      0,
    ),
    option(
      '--seed <number>',
      'what those chances are drawn from',
      wholeNumber(0, 2 ** 32 - 1),
    ).default(1),
    option('--sweep-every <seconds>', 'how often the sweeper runs', seconds(1)),
    option('--sweep-after <seconds>', 'how old a batch is that it looks at', seconds(0)),
    option('--visibility-timeout <seconds>', 'when a message comes again', seconds(1)),
    option('--items-per-message <number>', '1 to 10000, or packed', nonEmpty),
    option(
      '--compressed-as <form>',
      'how the API hands over compressed bodies: base64, or text, in which their bytes are lost',
      oneOf(compressedForms),
    ).default('base64'),
  ];
  for (const each of options) command.addOption(each);
  return command
    .option('--no-throttle', 'leave out the throttling of the API')
    .option('--verbose', 'show what the functions write, and each failed batch');
}

/** The options as parsed. Nothing asks for a token here: only this machine may call. */
export function localOptions(command: Command): LocalOptions {
  const options = command.opts<LocalOptions>();
  if (isLoopback(options.host)) return options;
  throw new UsageError(
    `${options.host} can be reached from other machines, and no access control stands in front of ` +
      'the emulated stack. Bind 127.0.0.1.',
  );
}

function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true;
  return isIP(host) === 4 && host.startsWith('127.');
}
