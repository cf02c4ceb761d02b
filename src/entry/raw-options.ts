import type { Command } from 'commander';

import { addReceivedOptions, receivedRange } from './audit-options.ts';
import { dataDirOption } from './common-options.ts';

/** What `raw list` and `raw export` need to know. */
export interface RawRangeOptions {
  dataDir: string;
  /** By when batches came (milliseconds since 1970, `to` excluded); undefined: all. */
  received: { from: number; to: number } | undefined;
}

interface RawValues {
  since?: number;
  until?: number;
  dataDir: string;
}

/** Adds the options of `raw list` and `raw export` to a command. */
export function addRawRangeOptions(command: Command): Command {
  return addReceivedOptions(command).addOption(dataDirOption());
}

export function rawRangeOptions(command: Command): RawRangeOptions {
  const { dataDir, ...times } = command.opts<RawValues>();
  return { dataDir, received: receivedRange(times) };
}
