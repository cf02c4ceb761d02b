import { Option, type Command } from 'commander';

import { count, maxBodyOption, option, tokenOption, urlOption } from '../cli/common-options.ts';
import { keyName, UsageError } from '../cli/option-parsers.ts';

/**
 * The format of an input. `json`: one document, that is, a list of items or an object with
 * `processed_devices`. `ndjson`: on each line an item or such a document. `auto`: detected.
 */
export type InputFormat = 'json' | 'ndjson' | 'auto';

/** The options of `ingest`. With the same `key`, the same files count once. */
export interface IngestOptions {
  files: readonly string[];
  url: string;
  /** The most items in a request. */
  items: number;
  /** The largest request, in bytes. */
  maxBody: number;
  concurrency: number;
  format: InputFormat;
  strict?: true;
  key?: string;
  token?: string;
  json?: true;
}

/** Adds the argument and the options of `ingest` to a command. */
export function addIngestOptions(command: Command): Command {
  const formats: InputFormat[] = ['auto', 'json', 'ndjson'];
  return command
    .argument('<file...>', 'JSON or NDJSON, plain or gzipped; - is standard input')
    .addOption(urlOption())
    .addOption(count('--items <number>', 'the most items in a request', 1e6, 1000))
    .addOption(maxBodyOption())
    .addOption(count('--concurrency <number>', 'requests at a time', 256, 4))
    .addOption(
      new Option('--format <format>', 'the format of the files').choices(formats).default('auto'),
    )
    .option('--strict', 'send nothing unless all lines and items are valid')
    .addOption(option('--key <name>', 'an idempotency key: the same files count once', keyName))
    .addOption(tokenOption())
    .option('--json', 'print the summary as JSON');
}

/** Returns the parsed options of `ingest`; `files` are its arguments. */
export function ingestOptions(command: Command, files: readonly string[]): IngestOptions {
  if (files.indexOf('-') !== files.lastIndexOf('-')) {
    throw new UsageError('standard input (-) is given twice; it can be read only once');
  }
  return { ...command.opts<Omit<IngestOptions, 'files'>>(), files };
}
