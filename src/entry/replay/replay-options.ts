import type { Command } from 'commander';

import { addReceivedOptions, receivedRange } from '../verify/audit-options.ts';
import { count, option, tokenOption } from '../cli/common-options.ts';
import { nonEmpty, serverUrl, UsageError } from '../cli/option-parsers.ts';

/** One end of a replay. */
type ReplayPlace =
  | { kind: 'directory'; path: string }
  | { kind: 'stack'; name: string }
  | { kind: 'url'; url: string };

/** What `replay` needs to know. */
export interface ReplayOptions {
  from: Exclude<ReplayPlace, { kind: 'url' }>;
  to: ReplayPlace;
  /** By when batches came (milliseconds since 1970, `to` excluded); undefined: all. */
  received: { from: number; to: number } | undefined;
  concurrency: number;
  /** Whose the idempotency keys are of batches that came from nobody in particular. */
  caller: string;
  allowOtherDays: boolean;
  /** Whether an address gets compressed bodies as they are. */
  compress: boolean;
  token: string | undefined;
  json: boolean;
}

interface ReplayValues {
  from: ReplayPlace;
  to: ReplayPlace;
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
    'a data directory, a directory that raw export has written, or stack:NAME',
    place,
  );
  const target = option('--to <target>', 'a data directory, http://…, or stack:NAME', place);
  command.addOption(source.makeOptionMandatory()).addOption(target.makeOptionMandatory());
  return addReceivedOptions(command)
    .addOption(count('--concurrency <number>', 'batches at a time', 256, 16))
    .addOption(
      option('--caller <token-name>', 'whose the keys are of clients that had no token', nonEmpty),
    )
    .option('--allow-other-days', 'also where the target takes the day of an item by another rule')
    .option(
      '--no-compress',
      'send an address the bodies uncompressed, also those that came compressed',
    )
    .addOption(tokenOption())
    .option('--json', 'print the summary as JSON');
}

/** The options of `replay` as parsed. */
export function replayOptions(command: Command): ReplayOptions {
  const values = command.opts<ReplayValues>();
  const {
    from,
    to,
    concurrency,
    compress,
    token,
    caller = '',
    allowOtherDays = false,
    json = false,
  } = values;
  if (from.kind === 'url') {
    throw new UsageError('--from is a data directory, an exported directory, or stack:NAME');
  }
  if (!compress && to.kind !== 'url') {
    throw new UsageError('--no-compress goes with an address as --to');
  }
  const received = receivedRange(values);
  return { from, to, received, concurrency, caller, allowOtherDays, compress, token, json };
}

function stackName(flag: string, name: string): string {
  if (name.trim() !== '') return name;
  throw new UsageError(`${flag} stack: lacks the name of the stack, as in stack:device-pipeline`);
}

function place(flag: string): (text: string) => ReplayPlace {
  return (text) => {
    if (/^https?:/i.test(text)) return { kind: 'url', url: serverUrl(flag)(text) };
    // A directory of that name would be a misspelt address, as a rule.
    if (text.includes('://')) {
      throw new UsageError(
        `${flag} must be a directory, an address with http:// or https://, or stack:NAME, got '${text}'`,
      );
    }
    const [, stack] = /^stack:(.*)$/s.exec(text) ?? [];
    if (stack !== undefined) return { kind: 'stack', name: stackName(flag, stack) };
    return { kind: 'directory', path: nonEmpty(flag)(text) };
  };
}
