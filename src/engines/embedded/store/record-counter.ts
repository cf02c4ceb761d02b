import { randomInt } from 'node:crypto';

import { BatchScanner, notPlain } from '../../../domain/fast/batch-scanner.ts';
import { CounterTable } from '../../../domain/fast/counter-table.ts';
import type { Increments } from '../../../domain/counter.ts';
import { dayRule, utcDayRule, type DayOf } from '../../../domain/day.ts';
import { recount } from '../../../pipeline/recount.ts';
import type { LogRecord } from '../log/frame.ts';

/** Counters held in memory; what counts more in one batch is held all the same. */
const heldCountersMax = 20_000;
/** More than are held: a batch that is read while they come near it must still find room. */
const tableLimits = { countersMax: 524_288, keyBytesMax: 32 * 1024 * 1024 };

/** Counts records again, bodies of the common shape without building objects. */
export class RecordCounter {
  readonly table = new CounterTable(tableLimits, randomInt(2 ** 32));
  readonly scanner: BatchScanner;
  readonly #dayOf: DayOf;

  /** @param dayZone the day rule of the log. */
  constructor(dayZone: string) {
    this.scanner = new BatchScanner(this.table, utcDayRule(dayZone));
    this.#dayOf = dayRule(dayZone);
  }

  /** Whether the increments should be taken before more is counted. */
  get isFull(): boolean {
    return this.table.size >= heldCountersMax;
  }

  /** Adds what a record counts; returns why it cannot be counted, if it cannot. */
  count(record: LogRecord): string | undefined {
    const { body, encoding, accepted, rejected } = record;
    const items = encoding === 'identity' ? this.scanner.scan(body, 0, body.length) : notPlain;
    if (items === accepted && rejected === 0) {
      this.scanner.count();
      return undefined;
    }
    const counted = recount(record, this.#dayOf);
    if (counted.reason === undefined) this.table.addTally(counted.tally);
    return counted.reason;
  }

  /** The increments of all records since the last call. */
  takeIncrements(): Increments {
    const tally = this.table.tally();
    this.table.clear();
    return tally;
  }
}
