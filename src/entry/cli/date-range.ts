import type { Command } from 'commander';

import { addDays } from '../../domain/timestamp.ts';
import type { DateRange, ReceivedRange } from '../../pipeline/store-admin.ts';
import { option } from './common-options.ts';
import { timestamp, UsageError } from './option-parsers.ts';

/** The earliest date that a timestamp can have. */
export const firstDate = '0000-01-01';

/**
 * The dates of `--date`, or of `--from` and `--to`; undefined if none is given. `--from` alone ends
 * today, in the time zone with the latest date; `--to` alone starts at the earliest date.
 */
export function dateRange(
  date: string | undefined,
  from: string | undefined,
  to: string | undefined,
  now = Date.now(),
): DateRange | undefined {
  if (date !== undefined) {
    if (from === undefined && to === undefined) return { from: date, to: date };
    throw new UsageError('give either --date, or --from and --to');
  }
  if (from === undefined && to === undefined) return undefined;
  const today = latestToday(now);
  if (to === undefined && from !== undefined && from > today) {
    throw new UsageError(
      `--from ${from} is in the future (today is at most ${today} in any time zone); also give --to`,
    );
  }
  const range = { from: from ?? firstDate, to: to ?? today };
  if (range.from > range.to) throw new UsageError(`--from ${range.from} is after --to ${range.to}`);
  return range;
}

/** The time zone that is furthest ahead of UTC. */
const aheadMsMax = 14 * 3_600_000;

/** Today in UTC and the six days before, plus tomorrow if it has begun in some time zone. */
export function lastWeek(now = Date.now()): DateRange {
  return { from: addDays(dateAt(now), -6), to: latestToday(now) };
}

/** The latest date that is today in some time zone. */
function latestToday(now: number): string {
  return dateAt(now + aheadMsMax);
}

function dateAt(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

/** `--since` and `--until`, for every command that selects batches by time of receipt. */
export function addReceivedOptions(command: Command): Command {
  return command
    .addOption(option('--since <time>', 'only batches received at this time or later', timestamp))
    .addOption(option('--until <time>', 'only batches received before this time', timestamp));
}

/** The times of `--since` and `--until`; undefined if neither is given. */
export function receivedRange({
  since,
  until,
}: {
  since?: number;
  until?: number;
}): ReceivedRange | undefined {
  if (since === undefined && until === undefined) return undefined;
  const range = { from: since ?? 0, to: until ?? Number.MAX_SAFE_INTEGER };
  if (range.from < range.to) return range;
  throw new UsageError('--since must be before --until');
}
