import type { Command } from 'commander';

import { dataDirOption } from './common-options.ts';
import { UsageError } from './option-parsers.ts';

/** What `rebuild` needs to know. */
export interface RebuildCommandOptions {
  dataDir: string;
  dryRun: boolean;
  withoutDamaged: boolean;
  dropOld: boolean;
  json: boolean;
}

interface RebuildValues {
  dataDir: string;
  dryRun?: true;
  withoutDamaged?: true;
  dropOld?: true;
  json?: true;
}

/** Adds the options of `rebuild` to a command. */
export function addRebuildOptions(command: Command): Command {
  return command
    .option('--dry-run', 'show what would change, and change nothing')
    .option('--without-damaged', 'do without batches whose raw bodies are damaged')
    .option('--drop-old', 'drop the counters that the last rebuild replaced')
    .addOption(dataDirOption())
    .option('--json', 'print the result as JSON');
}

/** The options of `rebuild` as parsed. */
export function rebuildOptions(command: Command): RebuildCommandOptions {
  const values = command.opts<RebuildValues>();
  const { dataDir, dryRun = false, withoutDamaged = false, dropOld = false, json = false } = values;
  if (dropOld && (dryRun || withoutDamaged)) {
    throw new UsageError(
      '--drop-old drops what the last rebuild replaced, and takes no other option',
    );
  }
  return { dataDir, dryRun, withoutDamaged, dropOld, json };
}
