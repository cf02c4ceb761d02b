import type { Command } from 'commander';

import { maxBodyOption, stackOption, tokenOption, urlOption } from '../cli/common-options.ts';
import { UsageError } from '../cli/option-parsers.ts';

/** The options of `check`: of a stack if it is named, otherwise of the server at `url`. */
export interface CheckOptions {
  readonly url: string;
  readonly stack?: string;
  /** The server's limit for a request body, in bytes. */
  readonly maxBody: number;
  readonly token?: string;
}

/** Adds the options of `check` to a command. */
export function addCheckOptions(command: Command): Command {
  return command
    .addOption(urlOption())
    .addOption(stackOption())
    .addOption(maxBodyOption())
    .addOption(tokenOption());
}

/** Returns the parsed options of `check`. */
export function checkOptions(command: Command): CheckOptions {
  const options = command.opts<CheckOptions>();
  if (options.stack !== undefined && command.getOptionValueSource('url') === 'cli') {
    throw new UsageError('--url and --stack name two servers; give only one');
  }
  return options;
}
