import type { Command } from 'commander';

import {
  defaultBodyBytesMax,
  defaultUrl,
  setting,
  stackOption,
  tokenOption,
} from '../cli/common-options.ts';
import { bodySize, serverUrl, UsageError } from '../cli/option-parsers.ts';

/** The options of `check`. `place` is a server by its URL, or a stack by its name. */
export interface CheckOptions {
  readonly place: { readonly url: string } | { readonly stack: string };
  readonly bodyBytesMax: number;
  readonly token: string | undefined;
}

interface CheckValues {
  url: string;
  stack?: string;
  maxBody: number;
  token?: string;
}

/** Adds the options of `check` to a command. */
export function addCheckOptions(command: Command): Command {
  const maxBody = "the server's limit for a request body";
  return command
    .addOption(setting('--url <url>', 'the URL of the server', serverUrl).default(defaultUrl))
    .addOption(stackOption())
    .addOption(setting('--max-body <size>', maxBody, bodySize).default(defaultBodyBytesMax, '4MiB'))
    .addOption(tokenOption());
}

/** Returns the parsed options of `check`. */
export function checkOptions(command: Command): CheckOptions {
  const { url, stack, maxBody: bodyBytesMax, token } = command.opts<CheckValues>();
  if (stack !== undefined && command.getOptionValueSource('url') === 'cli') {
    throw new UsageError('--url and --stack name two servers; give only one');
  }
  return { place: stack === undefined ? { url } : { stack }, bodyBytesMax, token };
}
