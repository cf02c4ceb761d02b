import { randomInt } from 'node:crypto';

import { BatchScanner } from '../../../domain/fast/batch-scanner.ts';
import { CounterTable } from '../../../domain/fast/counter-table.ts';
import { scanMemory } from '../../../domain/fast/scan-memory.ts';
import type { Increments } from '../../../domain/counter.ts';
import { dayRule, utcDayRule, type DayOf } from '../../../domain/day.ts';
import { recount } from '../../../pipeline/recount.ts';
import type { LogRecord } from '../log/frame.ts';
import { scanKernel } from './scan-kernel.ts';

/** Counters in memory at which increments should be taken; a single batch may exceed it. */
const heldCountersMax = 20_000;
/** Well above `heldCountersMax`, since a batch that is read just below it must still fit. */
export const tableLimits = { countersMax: 524_288, keyBytesMax: 32 * 1024 * 1024 };

/** Counts records; for bodies of the common shape it builds no objects. */
export class RecordCounter {
  readonly table: CounterTable;
  readonly scanner: BatchScanner;
  readonly #dayOf: DayOf;

  /**
   * @param dayZone the day rule of the log.
   * @param memory the memory in which another thread puts bodies.
   */
  constructor(dayZone: string, memory = scanMemory(tableLimits)) {
    this.table = new CounterTable(memory, randomInt(2 ** 32), scanKernel());
    this.scanner = new BatchScanner(this.table, utcDayRule(dayZone));
    this.#dayOf = dayRule(dayZone);
  }

  /** Whether the caller should take the increments before it counts more. */
  get isFull(): boolean {
    return this.table.size >= heldCountersMax;
  }

  /** Adds a record's increments; returns the reason if it cannot be counted. */
  count(record: LogRecord): string | undefined {
    const { body, encoding, accepted, rejected } = record;
    const scanned = encoding === 'identity' ? this.scanner.scan(body, 0, body.length) : undefined;
    if (scanned?.items === accepted && rejected === 0) {
      scanned.count();
      return undefined;
    }
    const counted = recount(record, this.#dayOf);
    if (counted.reason === undefined) this.table.addIncrements(counted.increments);
    return counted.reason;
  }

  /** The increments of all records since the last call. */
  takeIncrements(): Increments {
    const increments = this.table.increments();
    this.table.clear();
    return increments;
  }
}
