import type { Command, Option } from 'commander';

import { dataDirOption, option, setting } from '../cli/common-options.ts';
import { dayMs } from '../../domain/timestamp.ts';
import {
  archiveUrl,
  daysToKeep,
  logId,
  oneOf,
  size,
  timestamp,
  UsageError,
  wholeNumber,
} from '../cli/option-parsers.ts';
import type { ArchiveOptions } from '../../engines/embedded/archive/archive-messages.ts';

const modes = ['async', 'sync'] as const;

interface ServeArchiveValues {
  archive?: string;
  archiveMode: (typeof modes)[number];
  archiveInterval: number;
  archiveRate: number;
  archiveKeep: number | 'forever';
}

/** The options of `serve` for its archive. */
export function serveArchiveOptions(): Option[] {
  return [
    setting(
      '--archive <url>',
      'ship the log to s3://bucket/prefix or file:///directory, to restore it if this machine is lost',
      archiveUrl,
    ),
    setting(
      '--archive-mode <mode>',
      'sync: acknowledge a batch only once the archive holds it; async: within --archive-interval',
      oneOf(modes),
    ).default('async'),
    setting(
      '--archive-interval <seconds>',
      'how long batches may wait to be shipped together (async)',
      wholeNumber(1, 86_400),
    ).default(10),
    setting(
      '--archive-rate <size>',
      'how many bytes of the log to ship per second at most (async)',
      size,
    ).default(32 * 1024 * 1024, '32MiB'),
    setting(
      '--archive-keep <days>',
      'how long the archive keeps raw bodies, at least as long as --keep-raw',
      daysToKeep(1, 36_500),
    ).default('forever'),
  ];
}

/**
 * Returns the settings of the archive; undefined if there is none.
 * @param keepRawDays undefined: forever
 */
export function archiveOptions(
  command: Command,
  keepRawDays: number | undefined,
): ArchiveOptions | undefined {
  const values = command.opts<ServeArchiveValues>();
  if (values.archive === undefined) {
    if (values.archiveMode === 'async') return undefined;
    throw new UsageError('--archive-mode sync needs --archive: there is no archive to wait for');
  }
  const { archiveKeep } = values;
  if (archiveKeep !== 'forever') checkArchiveKeep(archiveKeep, keepRawDays);
  const isSync = values.archiveMode === 'sync';
  return {
    ...{ url: values.archive, isSync, intervalMs: values.archiveInterval * 1000 },
    bytesPerSecondMax: isSync ? Number.POSITIVE_INFINITY : values.archiveRate,
    keepMs: archiveKeep === 'forever' ? undefined : archiveKeep * dayMs,
  };
}

/** @throws {UsageError} if the data directory keeps raw bodies longer than the archive. */
function checkArchiveKeep(archiveKeep: number, keepRawDays: number | undefined): void {
  if (keepRawDays !== undefined && keepRawDays <= archiveKeep) return;
  throw new UsageError(
    `--archive-keep ${archiveKeep} is shorter than --keep-raw ${keepRawDays ?? 'forever'}, but the archive removes only what the data directory has removed before. Make --keep-raw shorter, too.`,
  );
}

/** An archive, and one of its logs; undefined: all of them, or the only one. */
export interface ArchivePlace {
  readonly from: string;
  readonly logId?: string | undefined;
}

/** Adds `--from` and `--log-id`. */
export function addArchivePlace(command: Command): Command {
  return command
    .addOption(option('--from <url>', 'the archive', archiveUrl).makeOptionMandatory())
    .addOption(logIdOption());
}

/** The options of `restore`. */
export interface RestoreCommandOptions {
  readonly from: string;
  readonly dataDir: string;
  /** Milliseconds since 1970. */
  readonly until: number | undefined;
  readonly logId: string | undefined;
  readonly isUpToDamage: boolean;
}

export function addRestoreOptions(command: Command): Command {
  return addArchivePlace(command)
    .addOption(dataDirOption())
    .addOption(
      option(
        '--until <time>',
        'restore only what was received before the first batch after this time',
        timestamp,
      ),
    )
    .option(
      '--up-to-damage',
      'if the archive is damaged, restore everything before the first damage instead of failing',
    );
}

interface RestoreValues extends Omit<RestoreCommandOptions, 'isUpToDamage'> {
  readonly upToDamage?: true;
}

export function restoreOptions(command: Command): RestoreCommandOptions {
  const { from, dataDir, until, logId: id, upToDamage = false } = command.opts<RestoreValues>();
  return { from, dataDir, until, logId: id, isUpToDamage: upToDamage };
}

/** `--log-id`, for archives that hold several logs. */
export function logIdOption(): Option {
  return option('--log-id <id>', 'the log, if the archive holds several', logId);
}
