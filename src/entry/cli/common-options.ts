import { Option, type Command } from 'commander';

import type { StackPlace } from '../../engines/aws/admin/stack.ts';
import {
  bearerToken,
  bodySize,
  nonEmpty,
  serverUrl,
  UsageError,
  wholeNumber,
  type ParserFor,
} from './option-parsers.ts';

/** The default of `--max-body`: the largest request body, in bytes. */
export const defaultBodyBytesMax = 4 * 1024 * 1024;

/** An option with a value, which the parser checks. */
export function option<Value>(
  flags: string,
  description: string,
  parserFor: ParserFor<Value>,
): Option {
  const made = new Option(flags, description);
  return made.argParser(parserFor(`--${made.name()}`));
}

/** An option that can also be set as `DEVICE_PIPELINE_<NAME>`, checked by the same parser. */
export function setting<Value>(
  flags: string,
  description: string,
  parserFor: ParserFor<Value>,
): Option {
  const made = option(flags, description, parserFor);
  return made.env(`DEVICE_PIPELINE_${made.name().replaceAll('-', '_').toUpperCase()}`);
}

/** An option that is a whole number from 1 to `most`; `value` is the default. */
export function count(flags: string, description: string, most: number, value: number): Option {
  return option(flags, description, wholeNumber(1, most)).default(value);
}

/** `--url` of commands that send to a server. */
export function urlOption(): Option {
  const address = 'http://127.0.0.1:8080';
  return setting('--url <url>', 'the URL of the server', serverUrl).default(address);
}

/** `--max-body` of commands that send to a server. */
export function maxBodyOption(): Option {
  const description = "the server's limit for a request body";
  return setting('--max-body <size>', description, bodySize).default(defaultBodyBytesMax, '4MiB');
}

/** `--token`. The environment is safer: other users of the machine can see command lines. */
export function tokenOption(): Option {
  const description = "the server's token; prefer the environment variable";
  return setting('--token <text>', description, bearerToken);
}

/** `--data-dir`, the same for every command that uses a data directory. */
export function dataDirOption(): Option {
  return setting('--data-dir <directory>', 'the data directory', nonEmpty).default('./data');
}

/** `--stack`. Never read from the environment, so that no command works on a stack by accident. */
export function stackOption(): Option {
  const description =
    'use the deployed stack of this name (stack.pipeline if it has several) instead of a data directory';
  return option('--stack <name>', description, nonEmpty);
}

/** The resources of a store on AWS that have an option of their own. */
export type StorePart = 'bucket' | 'table' | 'ledger' | 'queue';

const partOptions: Record<StorePart, readonly [flags: string, what: string]> = {
  bucket: ['--bucket <name>', 'the bucket with the raw bodies'],
  table: ['--table <name>', 'the table with the counters'],
  ledger: ['--ledger <name>', 'the ledger table'],
  queue: ['--queue <url>', 'the queue with the dead letters'],
};

/** The store that a command uses: a data directory, or a store on AWS. */
export type StorePlace =
  | { readonly dataDir: string; readonly stack?: never }
  | { readonly stack: StackPlace; readonly dataDir?: never };

/** Adds `--data-dir`, `--stack`, and an option for each resource that the command uses. */
export function addStoreOptions(command: Command, ...parts: readonly StorePart[]): Command {
  return addPartOptions(command.addOption(dataDirOption()).addOption(stackOption()), parts);
}

/** Whether an option on the command line names a store; the environment does not count. */
export function isStoreNamed(command: Command): boolean {
  const names = ['dataDir', 'stack', ...Object.keys(partOptions)];
  return names.some((name) => command.getOptionValueSource(name) === 'cli');
}

export function addPartOptions(command: Command, parts: readonly StorePart[]): Command {
  for (const part of parts) {
    const [flags, what] = partOptions[part];
    command.addOption(option(flags, `${what}, instead of the stack's own`, nonEmpty));
  }
  return command;
}

/**
 * Returns the store that the options name.
 * @param needed resources that must be named if no stack is; none: a stack must be named
 */
export function storePlace(command: Command, ...needed: readonly StorePart[]): StorePlace {
  const { dataDir } = command.opts<{ dataDir: string }>();
  const stack = stackPlace(command, ...needed);
  if (stack === undefined) return { dataDir };
  if (command.getOptionValueSource('dataDir') === 'cli') {
    const first = stack.name === undefined ? 'the names of a store on AWS' : '--stack';
    throw new UsageError(`${first} and --data-dir name two stores; give only one`);
  }
  return { stack };
}

/** Returns the store on AWS that the options name; undefined if they name none. */
export function stackPlace(
  command: Command,
  ...needed: readonly StorePart[]
): StackPlace | undefined {
  const options = command.opts<StackPlace & { stack?: string }>();
  const { stack: name, bucket, table, ledger, queue } = options;
  const given = { bucket, table, ledger, queue };
  const parts = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  ) as Omit<StackPlace, 'name'>;
  if (name !== undefined) return { name, ...parts };
  if (Object.keys(parts).length === 0) return undefined;
  const missing = needed.filter((part) => given[part] === undefined);
  if (needed.length > 0 && missing.length === 0) return parts;
  const what = needed.length === 0 ? '--stack' : `${flagsOf(missing)}, or --stack`;
  throw new UsageError(
    `${flagsOf(Object.keys(parts))} alone does not identify the store; also give ${what}`,
  );
}

function flagsOf(parts: readonly string[]): string {
  return parts.map((part) => `--${part}`).join(' and ');
}
