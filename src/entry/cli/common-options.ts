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

/** The parts of a store on AWS that have names of their own, as the options for them are called. */
export type StorePart = 'bucket' | 'table' | 'ledger';

const partOptions: Record<StorePart, readonly [flags: string, what: string]> = {
  bucket: ['--bucket <name>', 'the bucket with the raw bodies'],
  table: ['--table <name>', 'the table with the counters'],
  ledger: ['--ledger <name>', 'the ledger table'],
};

/** A store on AWS: a stack by its name, parts of which go by other names, or the parts alone. */
export interface StackPlace extends Readonly<Partial<Record<StorePart, string>>> {
  readonly name?: string;
}

/** What a command works on: a data directory, or a store on AWS. */
export type StorePlace =
  | { readonly dataDir: string; readonly stack?: never }
  | { readonly stack: StackPlace; readonly dataDir?: never };

/** `--data-dir` or `--stack`, and the options for those parts of a store on AWS that are used. */
export function addStoreOptions(command: Command, ...parts: readonly StorePart[]): Command {
  return addPartOptions(command.addOption(dataDirOption()).addOption(stackOption()), parts);
}

export function addPartOptions(command: Command, parts: readonly StorePart[]): Command {
  for (const part of parts) {
    const [flags, what] = partOptions[part];
    command.addOption(option(flags, `${what}, not the one of the stack`, nonEmpty));
  }
  return command;
}

/**
 * The store as parsed.
 * @param needed what has to be named where no stack is; nothing: the stack has to be
 */
export function storePlace(command: Command, ...needed: readonly StorePart[]): StorePlace {
  const { dataDir } = command.opts<{ dataDir: string }>();
  const stack = stackPlace(command, ...needed);
  if (stack === undefined) return { dataDir };
  if (command.getOptionValueSource('dataDir') === 'cli') {
    const first = stack.name === undefined ? 'the names of a store on AWS' : '--stack';
    throw new UsageError(`${first} and --data-dir are two stores; give one of them`);
  }
  return { stack };
}

/** The store on AWS as parsed; undefined where none is named. */
export function stackPlace(
  command: Command,
  ...needed: readonly StorePart[]
): StackPlace | undefined {
  const { stack: name, bucket, table, ledger } = command.opts<StackPlace & { stack?: string }>();
  const given = { bucket, table, ledger };
  const parts = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  ) as Omit<StackPlace, 'name'>;
  if (name !== undefined) return { name, ...parts };
  if (Object.keys(parts).length === 0) return undefined;
  const missing = needed.filter((part) => given[part] === undefined);
  if (needed.length > 0 && missing.length === 0) return parts;
  const what = needed.length === 0 ? '--stack' : `${flagsOf(missing)}, or --stack`;
  throw new UsageError(
    `${flagsOf(Object.keys(parts))} alone does not name the store: give ${what}`,
  );
}

function flagsOf(parts: readonly string[]): string {
  return parts.map((part) => `--${part}`).join(' and ');
}
