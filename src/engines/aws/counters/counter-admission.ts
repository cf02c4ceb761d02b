import { QueryCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';

import {
  rowsOfIncrements,
  typeAndStateOf,
  typeStateKey,
  type Increments,
} from '../../../domain/counter.ts';
import { admitInOrder, type Counter } from '../../../domain/day-bound.ts';
import type { DayOf } from '../../../domain/day.ts';
import type { CalendarDate } from '../../../domain/timestamp.ts';
import { rejectOverLimitItems } from '../../../pipeline/exclusions.ts';
import { Unavailable, type Batch } from '../../../pipeline/ports.ts';
import { inParallel } from '../../../util/in-parallel.ts';
import type { Item } from '../ledger/ledger-table.ts';

export interface CounterAdmissionOptions {
  readonly client: Pick<DynamoDBClient, 'send'>;
  readonly countersTable: string;
  readonly countersPerDayMax: number;
  readonly dayOf: DayOf;
  readonly now: () => number;
}

/** The bounds of the memory: names of counters, and days. */
const namesMax = 1_000_000;
const daysMax = 20_000;
const parallelReads = 4;
/** How long one batch may wait for days to be read; the next batch continues the reading. */
const readMsMax = 12_000;
/** An item is rejected only by a read of the day that is at most this old. */
const readingAgeMsMax = 60_000;

/** The new counters of a batch on one day, and how many more the day may have. */
interface DayDemand {
  readonly newCounters: ReadonlySet<string>;
  readonly room: number;
}

/** The state of a day in one Lambda environment. */
interface Day {
  /** Sort keys of counters that exist, or certainly will. */
  names: Set<string>;
  /** How many new counters this environment admitted since it last read the day. */
  admitted: number;
  /** When it last read the whole day; milliseconds since 1970; undefined: never. */
  readAt: number | undefined;
  /** Where to continue an interrupted reading. */
  next: Item | undefined;
  /** The names were evicted from memory: the day must be read again. */
  isEvicted: boolean;
}

/**
 * Limits the number of distinct counters of each day. Environments share no state: each admits new
 * counters up to a hundredth of the limit without a check, then reads the day's counters to learn
 * how much room is left, and reads again after each further hundredth. So an ordinary day costs no
 * read, and a day may exceed its limit by a hundredth for each running environment. A limit below
 * 100 is exact, except for counters that others admitted and the processor has not written yet.
 */
export class CounterAdmission {
  readonly #options: CounterAdmissionOptions;
  readonly #uncheckedMax: number;
  /** The days in the order of use: the latest is last. */
  readonly #days = new Map<CalendarDate, Day>();
  #names = 0;

  constructor(options: CounterAdmissionOptions) {
    this.#options = options;
    this.#uncheckedMax = Math.floor(options.countersPerDayMax / 100);
  }

  /**
   * Returns the batch without its over-limit items.
   * @throws {AllItemsOverLimit | Unavailable}
   */
  async admit(batch: Batch): Promise<Batch> {
    if (batch.excluded !== undefined) return batch;
    const unknown = this.#unknownCounters(batch.increments);
    if (unknown.size === 0) return batch;
    const deadline = this.#options.now() + readMsMax;
    const demands = new Map<CalendarDate, DayDemand>();
    await inParallel(parallelReads, [...unknown], async ([date, names]) => {
      const isDecidable = this.#canDecide(date, names.size);
      const demand = isDecidable
        ? this.#demandOf(date, names)
        : await this.#read(date, names, deadline);
      demands.set(date, demand);
    });
    const fits = [...demands.values()].every(({ newCounters, room }) => newCounters.size <= room);
    if (fits) return batch;
    const has = (counter: Counter) =>
      demands.get(counter.date)?.newCounters.has(keyOf(counter)) !== true;
    const roomOn = (date: CalendarDate) => demands.get(date)?.room ?? 0;
    return rejectOverLimitItems(
      batch,
      this.#options.dayOf,
      admitInOrder({ has, newCountersLeft: roomOn }),
    );
  }

  /** Adds the counters of a stored batch: they will exist. */
  addKnown(increments: Increments): void {
    for (const counter of rowsOfIncrements(increments)) {
      const day = this.#day(counter.date);
      if (this.#add(day, keyOf(counter))) day.admitted++;
    }
    this.#evict();
  }

  /** The counters that may be new, by day. */
  #unknownCounters(increments: Increments): Map<CalendarDate, Set<string>> {
    const unknown = new Map<CalendarDate, Set<string>>();
    for (const counter of rowsOfIncrements(increments)) {
      const { date } = counter;
      const name = keyOf(counter);
      if (this.#days.get(date)?.names.has(name) === true) continue;
      const names = unknown.get(date);
      if (names === undefined) unknown.set(date, new Set([name]));
      else names.add(name);
    }
    return unknown;
  }

  #demandOf(date: CalendarDate, names: ReadonlySet<string>): DayDemand {
    const known = this.#day(date).names;
    const newCounters = new Set([...names].filter((name) => !known.has(name)));
    return { newCounters, room: this.#roomOn(date) };
  }

  /** Whether this environment can decide about the new counters without a read. */
  #canDecide(date: CalendarDate, newCounters: number): boolean {
    const { admitted, readAt, isEvicted } = this.#day(date);
    if (isEvicted) return false;
    if (newCounters > this.#roomOn(date)) {
      return readAt !== undefined && this.#options.now() - readAt < readingAgeMsMax;
    }
    return admitted + newCounters <= this.#uncheckedMax;
  }

  #roomOn(date: CalendarDate): number {
    const { names } = this.#day(date);
    return Math.max(0, this.#options.countersPerDayMax - names.size);
  }

  /** Reads the keys of a day and adds them to those admitted here. */
  async #read(
    date: CalendarDate,
    names: ReadonlySet<string>,
    deadline: number,
  ): Promise<DayDemand> {
    const day = this.#day(date);
    const { client, countersTable: TableName, now } = this.#options;
    const startedAt = now();
    do {
      if (now() > deadline) {
        throw new Unavailable(
          'overloaded',
          'Reading the counters of these days takes too long. Send the batch again after a moment, or in smaller batches.',
        );
      }
      const page = await client.send(
        new QueryCommand({
          TableName,
          KeyConditionExpression: '#date = :date',
          ProjectionExpression: 'type_state',
          ExpressionAttributeNames: { '#date': 'date' },
          ExpressionAttributeValues: { ':date': { S: date } },
          ExclusiveStartKey: day.next,
        }),
      );
      for (const { type_state: key } of page.Items ?? []) {
        // Another program may have written the key without escapes.
        if (key?.S !== undefined) this.#add(day, keyOf(typeAndStateOf(key.S)));
      }
      day.next = page.LastEvaluatedKey;
    } while (day.next !== undefined);
    day.readAt = startedAt;
    day.admitted = 0;
    day.isEvicted = false;
    const demand = this.#demandOf(date, names);
    this.#evict();
    return demand;
  }

  #add(day: Day, name: string): boolean {
    const { size } = day.names;
    day.names.add(name);
    const added = day.names.size - size;
    this.#names += added;
    return added > 0;
  }

  #day(date: CalendarDate): Day {
    const known = this.#days.get(date);
    const day: Day = known ?? {
      names: new Set(),
      admitted: 0,
      readAt: undefined,
      next: undefined,
      isEvicted: false,
    };
    this.#days.delete(date);
    this.#days.set(date, day);
    return day;
  }

  /** Evicts the names of the days that were unused for the longest time, except the latest. */
  #evict(): void {
    let kept = this.#days.size;
    for (const [date, day] of this.#days) {
      if (kept > daysMax) this.#days.delete(date);
      else if (this.#names <= namesMax || kept === 1) return;
      kept--;
      if (day.names.size === 0) continue;
      this.#names -= day.names.size;
      Object.assign(day, { names: new Set(), next: undefined, isEvicted: true });
    }
  }
}

function keyOf({ type, state }: Pick<Counter, 'type' | 'state'>): string {
  return typeStateKey(type, state);
}
