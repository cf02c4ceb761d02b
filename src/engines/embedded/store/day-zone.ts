import { asWritten, isDayZone, isSameDayZone } from '../../../domain/day.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { LogIdentity } from '../log/segment.ts';

/**
 * The day rule of a data directory: its log's, or, if there is no log yet, the options'. One store
 * never mixes two rules.
 * @throws if the log has another rule than the requested one, or one that this Node.js does not know.
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
    `The store in ${dataDir} takes the day of an item by the rule ${stored}, and --day-zone says ${wanted}. The rule is fixed when a store is created. Leave --day-zone out, or start an empty --data-dir with the other rule and bring the batches there with replay --allow-other-days.`,
  );
}

type DayZoneOptions = Pick<EmbeddedOptions, 'dataDir' | 'dayZone' | 'newDayZone'>;

/** @throws if this Node.js does not know the time zone of a store. */
export function checkDayZone(stored: string, dataDir: string): void {
  if (isDayZone(stored)) return;
  throw new Error(
    `The store in ${dataDir} takes the day of an item in the time zone ${stored}, which this Node.js does not know. Run it with the Node.js that it was made with, or with a newer one that has all time zones.`,
  );
}
