import { countersPerDayMaxDefault } from '../../domain/day-bound.ts';

/** Settings of the embedded engine. Sizes are bytes, times milliseconds. */
export interface EmbeddedOptions {
  readonly dataDir: string;
  /**
   * The rule by which the day of an item is taken, fixed when the store is made: a store with another
   * one is refused. Undefined: the store's own.
   */
  readonly dayZone: string | undefined;
  /** The rule of a store that is made now, where `dayZone` is undefined; `as-written` by default. */
  readonly newDayZone?: string | undefined;
  /** The largest body, as it came and inflated. */
  readonly bodyBytesMax: number;
  /** Beyond so many bytes that are stored and not counted, batches are refused for a while. */
  readonly backlogBytesMax: number;
  /** Beyond so many bytes of bodies on their way to the log, batches are refused for a while. */
  readonly inFlightBytesMax: number;
  /** A segment of the log is closed before it grows beyond this. */
  readonly segmentBytes: number;
  /** So much of a segment is allocated ahead of what is written. */
  readonly allocateBytes: number;
  /** How many distinct counters a day may have. */
  readonly countersPerDayMax: number;
  /** How long idempotency keys are kept. */
  readonly keepKeysMs: number;
  /** How long raw bodies, and with them receipts, are kept at least; undefined: for ever. */
  readonly keepRawMs: number | undefined;
  /** How long counts wait in memory to be committed together. */
  readonly countDelayMs: number;
}

const mebibyte = 1024 * 1024;
export const dayMs = 86_400_000;

export const embeddedDefaults = {
  dayZone: undefined,
  bodyBytesMax: 4 * mebibyte,
  backlogBytesMax: 128 * mebibyte,
  inFlightBytesMax: 24 * mebibyte,
  segmentBytes: 64 * mebibyte,
  allocateBytes: mebibyte,
  countersPerDayMax: countersPerDayMaxDefault,
  keepKeysMs: 90 * dayMs,
  keepRawMs: undefined,
  countDelayMs: 50,
} as const satisfies Omit<EmbeddedOptions, 'dataDir'>;
