import type { Command } from 'commander';

import { addStoreOptions, option, storePlace, type StorePlace } from '../cli/common-options.ts';
import { dateRange, type DateRange } from '../cli/date-range.ts';
import { date, nonEmpty, UsageError } from '../cli/option-parsers.ts';
import {
  addStackAuditOptions,
  stackAuditOptions,
  type StackAuditOptions,
} from './stack-options.ts';

/** What `rebuild` needs to know. */
export interface RebuildCommandOptions {
  place: StorePlace;
  dryRun: boolean;
  withoutDamaged: boolean;
  /** What to do with what the last rebuild replaced, instead of another rebuild. */
  replaced: 'drop' | 'restore' | undefined;
  /** The counters to correct, of a stack; undefined: all. */
  dates: DateRange | undefined;
  /** Where notes are kept, of a stack; undefined: where such files are kept on this system. */
  workDir: string | undefined;
  json: boolean;
  stackAudit: StackAuditOptions;
}

interface RebuildValues {
  dryRun?: true;
  withoutDamaged?: true;
  dropOld?: true;
  restoreOld?: true;
  from?: string;
  to?: string;
  workDir?: string;
  json?: true;
}

/** Adds the options of `rebuild` to a command. */
export function addRebuildOptions(command: Command): Command {
  command
    .option('--dry-run', 'show what would change, and change nothing')
    .option('--without-damaged', 'do without batches whose raw bodies are damaged')
    .option('--drop-old', 'drop the counters that the last rebuild replaced')
    .option('--restore-old', 'bring them back (a stack)')
    .addOption(option('--from <date>', 'the first day to correct (a stack; default: any)', date))
    .addOption(option('--to <date>', 'the last day (a stack; default with --from: today)', date))
    .addOption(option('--work-dir <directory>', 'where notes are kept (a stack)', nonEmpty));
  addStoreOptions(command, 'bucket', 'table', 'ledger').option(
    '--json',
    'print the result as JSON',
  );
  return addStackAuditOptions(command);
}

/** The options of `rebuild` as parsed. */
export function rebuildOptions(command: Command): RebuildCommandOptions {
  const values = command.opts<RebuildValues>();
  const { dryRun = false, withoutDamaged = false, dropOld = false, restoreOld = false } = values;
  const { from, to, workDir, json = false } = values;
  const place = storePlace(command, 'bucket', 'table', 'ledger');
  if ((dropOld || restoreOld) && (dryRun || withoutDamaged || (dropOld && restoreOld))) {
    throw new UsageError(
      '--drop-old and --restore-old are about what the last rebuild replaced, and take no other option',
    );
  }
  if (place.stack === undefined && (restoreOld || from !== undefined || to !== undefined)) {
    throw new UsageError('--restore-old, --from and --to are for a stack: name it with --stack');
  }
  return {
    ...{ place, dryRun, withoutDamaged, workDir, json },
    replaced: dropOld ? 'drop' : restoreOld ? 'restore' : undefined,
    dates: dateRange(undefined, from, to),
    stackAudit: stackAuditOptions(command),
  };
}
