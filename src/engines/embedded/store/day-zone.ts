import { asWritten, isDayZone, isSameDayZone } from '../../../domain/day.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { LogIdentity } from '../log/segment.ts';

/**
 * The day rule of a data directory: its log's, or, if there is no log yet, the options'. One store
 * never mixes two rules.
 * @throws if the log has another rule than the requested one, or one that this Node.js does not
 * support.
 */
export function storeDayZone(
  log: LogIdentity | undefined,
  { dataDir, dayZone: wanted, newDayZone = asWritten }: DayZoneOptions,
): string {
  const stored = log?.dayZone;
  if (stored === undefined) return wanted ?? newDayZone;
  checkDayZone(stored, dataDir);
  if (wanted === undefined || isSameDayZone(wanted, stored)) return stored;
  throw new Error(
    `The store in ${dataDir} uses the day rule ${stored}, but --day-zone is ${wanted}. The rule is fixed when a store is created. Omit --day-zone, or create a new --data-dir with the other rule and copy the batches there with replay --allow-other-days.`,
  );
}

type DayZoneOptions = Pick<EmbeddedOptions, 'dataDir' | 'dayZone' | 'newDayZone'>;

/** @throws if this Node.js does not support the time zone of a store. */
export function checkDayZone(stored: string, dataDir: string): void {
  if (isDayZone(stored)) return;
  throw new Error(
    `The store in ${dataDir} uses the time zone ${stored} for its days, which this Node.js does not support. Use the Node.js with which the store was created, or a newer one with all time zones.`,
  );
}
