import type { Command } from 'commander';

import { addStoreOptions, option, storePlace, type StorePlace } from '../cli/common-options.ts';
import { dateRange, type DateRange } from '../cli/date-range.ts';
import { date, nonEmpty, UsageError } from '../cli/option-parsers.ts';
import {
  addStackAuditOptions,
  stackAuditOptions,
  type StackAuditOptions,
} from './stack-options.ts';

/** The options of `rebuild`. */
export interface RebuildCommandOptions {
  place: StorePlace;
  dryRun: boolean;
  withoutDamaged: boolean;
  /** Drop or restore the old counters of the last rebuild, instead of another rebuild. */
  replaced: 'drop' | 'restore' | undefined;
  /** The counters to correct (stack only); undefined: all. */
  dates: DateRange | undefined;
  /** The directory for work files (stack only); undefined: the system's default. */
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
    .option('--without-damaged', 'skip batches whose raw bodies are damaged')
    .option('--drop-old', 'drop the old counters of the last rebuild')
    .option('--restore-old', 'restore the old counters of the last rebuild (stack only)')
    .addOption(option('--from <date>', 'the first day to correct (stack only; default: any)', date))
    .addOption(option('--to <date>', 'the last day (stack only; default with --from: today)', date))
    .addOption(
      option('--work-dir <directory>', 'the directory for work files (stack only)', nonEmpty),
    );
  addStoreOptions(command, 'bucket', 'table', 'ledger').option(
    '--json',
    'print the result as JSON',
  );
  return addStackAuditOptions(command);
}

/** Returns the parsed options of `rebuild`. */
export function rebuildOptions(command: Command): RebuildCommandOptions {
  const values = command.opts<RebuildValues>();
  const { dryRun = false, withoutDamaged = false, dropOld = false, restoreOld = false } = values;
  const { from, to, workDir, json = false } = values;
  const place = storePlace(command, 'bucket', 'table', 'ledger');
  if ((dropOld || restoreOld) && (dryRun || withoutDamaged || (dropOld && restoreOld))) {
    throw new UsageError(
      '--drop-old and --restore-old cannot be combined with each other, --dry-run or --without-damaged',
    );
  }
  if (place.stack === undefined && (restoreOld || from !== undefined || to !== undefined)) {
    throw new UsageError('--restore-old, --from and --to require --stack');
  }
  return {
    ...{ place, dryRun, withoutDamaged, workDir, json },
    replaced: dropOld ? 'drop' : restoreOld ? 'restore' : undefined,
    dates: dateRange(undefined, from, to),
    stackAudit: stackAuditOptions(command),
  };
}
