import { Option, type Command } from 'commander';

import {
  bearerToken,
  nonEmpty,
  UsageError,
  wholeNumber,
  type ParserFor,
} from './option-parsers.ts';

/** Where the server is, unless a command is told otherwise. */
export const defaultUrl = 'http://127.0.0.1:8080';

/** The largest request body the server takes, in bytes, unless it is told otherwise. */
export const defaultBodyBytesMax = 4 * 1024 * 1024;

/** An option with a value. */
export function option<Value>(
  flags: string,
  description: string,
  parserFor: ParserFor<Value>,
): Option {
  const made = new Option(flags, description);
  return made.argParser(parserFor(`--${made.name()}`));
}

/** An option that can also be given as `DEVICE_PIPELINE_<NAME>`, to the same parser. */
export function setting<Value>(
  flags: string,
  description: string,
  parserFor: ParserFor<Value>,
): Option {
  const made = option(flags, description, parserFor);
  return made.env(`DEVICE_PIPELINE_${made.name().replaceAll('-', '_').toUpperCase()}`);
}

/** An option that is a whole number from 1 to `most`. */
export function count(flags: string, description: string, most: number, value: number): Option {
  return option(flags, description, wholeNumber(1, most)).default(value);
}

/** `--token`, for servers that ask for one. Others on the machine see the options of a command. */
export function tokenOption(): Option {
  const description = "the server's token; better given by the environment";
  return setting('--token <text>', description, bearerToken);
}

/** `--data-dir`, the same for every command that works on the local store. */
export function dataDirOption(): Option {
  return setting('--data-dir <directory>', 'where the data is', nonEmpty).default('./data');
}

/** `--stack`, beside `--data-dir`. Never from the environment: a store in the cloud is named. */
export function stackOption(): Option {
  const description = 'work on a deployed stack of this name, not on a data directory';
  return option('--stack <name>', description, nonEmpty);
}

/** What a command works on: a data directory, or a stack by its name. */
export type StorePlace =
  | { readonly dataDir: string; readonly stack?: never }
  | { readonly stack: string; readonly dataDir?: never };

/** `--data-dir` and `--stack`, of which one is given at most. */
export function addStoreOptions(command: Command): Command {
  return command.addOption(dataDirOption()).addOption(stackOption());
}

/** The store as parsed. */
export function storePlace(command: Command): StorePlace {
  const { dataDir, stack } = command.opts<{ dataDir: string; stack?: string }>();
  if (stack === undefined) return { dataDir };
  if (command.getOptionValueSource('dataDir') === 'cli') {
    throw new UsageError('--stack and --data-dir are two stores; give one of them');
  }
  return { stack };
}
