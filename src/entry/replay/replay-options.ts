import type { Command } from 'commander';

import type { ReceivedRange } from '../../pipeline/store-admin.ts';
import { addReceivedOptions, receivedRange } from '../cli/date-range.ts';
import { logIdOption } from '../archive/archive-options.ts';
import { count, option, tokenOption, type StorePlace } from '../cli/common-options.ts';
import { archiveUrl, nonEmpty, serverUrl, UsageError } from '../cli/option-parsers.ts';

/** A log in an archive. */
export interface ArchivedLog {
  readonly archive: string;
  /** Undefined if the archive holds only one. */
  readonly logId: string | undefined;
  readonly dataDir?: never;
  readonly stack?: never;
}

type SourcePlace = (StorePlace & { readonly archive?: never }) | ArchivedLog;

/** One end of a replay. */
type ReplayPlace = StorePlace | { readonly url: string } | { readonly archive: string };

/** The options of `replay`. */
export interface ReplayOptions {
  /** A store, an archive, or a directory that `raw export` wrote. */
  from: SourcePlace;
  to: StorePlace | { readonly url: string };
  /** Batches received in this range (milliseconds since 1970, `to` excluded); undefined: all. */
  received: ReceivedRange | undefined;
  concurrency: number;
  /** The token name that owns the idempotency keys of batches that were sent without a token. */
  caller: string;
  allowOtherDays: boolean;
  /** Whether compressed bodies are sent to a server compressed. */
  compress: boolean;
  token: string | undefined;
  json: boolean;
}

interface ReplayValues {
  from: ReplayPlace;
  to: ReplayPlace;
  logId?: string;
  since?: number;
  until?: number;
  concurrency: number;
  caller?: string;
  allowOtherDays?: true;
  compress: boolean;
  token?: string;
  json?: true;
}

/** Adds the options of `replay` to a command. */
export function addReplayOptions(command: Command): Command {
  const source = option(
    '--from <source>',
    'a data directory, an archive (s3://… or file:///…), a directory written by raw export, or stack:NAME',
    place,
  );
  const target = option('--to <target>', 'a data directory, http://…, or stack:NAME', place);
  command.addOption(source.makeOptionMandatory()).addOption(target.makeOptionMandatory());
  return addReceivedOptions(command)
    .addOption(logIdOption())
    .addOption(count('--concurrency <number>', 'batches at a time', 256, 16))
    .addOption(
      option(
        '--caller <token-name>',
        'the token name for idempotency keys of clients without a token',
        nonEmpty,
      ),
    )
    .option('--allow-other-days', 'replay even if the target has another day rule')
    .option('--no-compress', 'send all bodies to a server uncompressed')
    .addOption(tokenOption())
    .option('--json', 'print the summary as JSON');
}

/** Returns the parsed options of `replay`. */
export function replayOptions(command: Command): ReplayOptions {
  const values = command.opts<ReplayValues>();
  const {
    from,
    to,
    logId,
    concurrency,
    compress,
    token,
    caller = '',
    allowOtherDays = false,
    json = false,
  } = values;
  if ('url' in from) {
    throw new UsageError(
      '--from must be a data directory, an archive, an exported directory, or stack:NAME',
    );
  }
  if ('archive' in to) {
    throw new UsageError('--to must not be an archive: serve --archive writes it');
  }
  const source = 'archive' in from ? { archive: from.archive, logId } : from;
  if (!compress && !('url' in to)) {
    throw new UsageError('--no-compress requires a URL as --to');
  }
  const received = receivedRange(values);
  return { from: source, to, received, concurrency, caller, allowOtherDays, compress, token, json };
}

function stackName(flag: string, name: string): string {
  if (name.trim() !== '') return name;
  throw new UsageError(`${flag} stack: needs the name of a stack, as in stack:device-pipeline`);
}

function place(flag: string): (text: string) => ReplayPlace {
  return (text) => {
    if (/^https?:/i.test(text)) return { url: serverUrl(flag)(text) };
    if (/^(?:s3|file):/i.test(text)) return { archive: archiveUrl(flag)(text) };
    // More likely a misspelt URL than a directory.
    if (text.includes('://')) {
      throw new UsageError(
        `${flag} must be a directory, a URL with http://, https://, s3:// or file:///, or stack:NAME, got '${text}'`,
      );
    }
    const [, stack] = /^stack:(.*)$/s.exec(text) ?? [];
    if (stack !== undefined) return { stack: { name: stackName(flag, stack) } };
    return { dataDir: nonEmpty(flag)(text) };
  };
}
