import { countersPerDayMaxDefault } from '../../domain/day-bound.ts';
import type { ArchiveOptions } from './archive/archive-messages.ts';
import { dayMs } from '../../domain/timestamp.ts';

/** Settings of the embedded engine. Sizes are bytes, times milliseconds. */
export interface EmbeddedOptions {
  readonly dataDir: string;
  /**
   * The day rule, fixed when the store is created: a store with another one is refused. Undefined: the
   * store's own.
   */
  readonly dayZone: string | undefined;
  /** The day rule of a new store if `dayZone` is undefined; `as-written` by default. */
  readonly newDayZone?: string | undefined;
  /** Maximum size of a body, both as received and inflated. */
  readonly bodyBytesMax: number;
  /** Bytes of stored but uncounted batches above which batches are refused. */
  readonly backlogBytesMax: number;
  /** Bytes of bodies between the main thread and the log above which batches are refused. */
  readonly inFlightBytesMax: number;
  /** Maximum size of a segment of the log, unless a single record is larger. */
  readonly segmentBytes: number;
  /** Bytes of a segment that are allocated ahead. */
  readonly allocateBytes: number;
  /** Maximum number of counters of a day. */
  readonly countersPerDayMax: number;
  /** How long idempotency keys are kept. */
  readonly keepKeysMs: number;
  /** The minimum time for which raw bodies, and so receipts, are kept; undefined: without limit. */
  readonly keepRawMs: number | undefined;
  /** How long increments wait in memory to be committed together. */
  readonly countDelayMs: number;
  /** Undefined: the log is not archived. */
  readonly archive?: ArchiveOptions | undefined;
}

const mebibyte = 1024 * 1024;
export { dayMs };

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
