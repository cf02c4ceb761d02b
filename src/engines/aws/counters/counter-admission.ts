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

/** Names held in memory, and days of which anything is known. */
const namesMax = 1_000_000;
const daysMax = 20_000;
const parallelReads = 4;
/** One batch may wait so long for days to be read; what was read by then is kept. */
const readMsMax = 12_000;
/** Before items are refused the day is read again, unless that was so recent. */
const refuseAfterMs = 60_000;

/** What is to be decided of a batch on one day. */
interface JudgedDay {
  readonly newcomers: ReadonlySet<string>;
  readonly room: number;
}

/** What an environment knows of a day. */
interface Day {
  /** Sort keys of counters that are there, or surely will be. */
  names: Set<string>;
  /** How many of them were let in here since the day was read, or since ever. */
  letIn: number;
  /** When it was last read to its end, milliseconds since 1970; undefined: never. */
  readAt: number | undefined;
  /** Where reading goes on, if it was cut off. */
  next: Item | undefined;
  /** Its names were forgotten for want of room: it has to be read. */
  isForgotten: boolean;
}

/**
 * Holds each day to so many distinct counters, as far as environments can that know nothing of each
 * other. Each lets in new names up to a hundredth of the bound on trust; then it reads which counters
 * the day has, and from there on knows how much room is left, reading again after each hundredth.
 * So usual days cost no read, and a day may get a hundredth more than its bound for each environment
 * that runs. A bound below 100 is exact, as far as what others let in is counted.
 */
export class CounterAdmission {
  readonly #options: CounterAdmissionOptions;
  readonly #trusted: number;
  /** The one used last is last. */
  readonly #days = new Map<CalendarDate, Day>();
  #names = 0;

  constructor(options: CounterAdmissionOptions) {
    this.#options = options;
    this.#trusted = Math.floor(options.countersPerDayMax / 100);
  }

  /**
   * The batch without the items whose counters have no room.
   * @throws {NothingAdmitted | Unavailable}
   */
  async admit(batch: Batch): Promise<Batch> {
    if (batch.excluded !== undefined) return batch;
    const newcomers = this.#newcomers(batch.increments);
    if (newcomers.size === 0) return batch;
    const deadline = this.#options.now() + readMsMax;
    const judged = new Map<CalendarDate, JudgedDay>();
    await inParallel(parallelReads, [...newcomers], async ([date, names]) => {
      const isSure = this.#isSureOf(date, names.size);
      judged.set(date, isSure ? this.#judge(date, names) : await this.#read(date, names, deadline));
    });
    const days = [...judged.values()];
    if (days.every((day) => day.newcomers.size <= day.room)) return batch;
    const has = (counter: Counter) =>
      judged.get(counter.date)?.newcomers.has(keyOf(counter)) !== true;
    const roomOn = (date: CalendarDate) => judged.get(date)?.room ?? 0;
    return rejectOverLimitItems(
      batch,
      this.#options.dayOf,
      admitInOrder({ has, newCountersLeft: roomOn }),
    );
  }

  /** What is stored will be there. */
  remember(tally: Increments): void {
    for (const counter of rowsOfIncrements(tally)) {
      const day = this.#day(counter.date);
      if (this.#add(day, keyOf(counter))) day.letIn++;
    }
    this.#makeRoom();
  }

  /** The counters that are not known to be there, by the days that have any. */
  #newcomers(tally: Increments): Map<CalendarDate, Set<string>> {
    const newcomers = new Map<CalendarDate, Set<string>>();
    for (const counter of rowsOfIncrements(tally)) {
      const { date } = counter;
      const name = keyOf(counter);
      if (this.#days.get(date)?.names.has(name) === true) continue;
      const names = newcomers.get(date);
      if (names === undefined) newcomers.set(date, new Set([name]));
      else names.add(name);
    }
    return newcomers;
  }

  /** Which of the names are new by what is known now, and the room there is for them. */
  #judge(date: CalendarDate, names: ReadonlySet<string>): JudgedDay {
    const known = this.#day(date).names;
    const newcomers = new Set([...names].filter((name) => !known.has(name)));
    return { newcomers, room: this.#roomOn(date) };
  }

  /** Whether so many newcomers can be judged by what is known. */
  #isSureOf(date: CalendarDate, newcomers: number): boolean {
    const { letIn, readAt, isForgotten } = this.#day(date);
    if (isForgotten) return false;
    if (newcomers > this.#roomOn(date)) {
      return readAt !== undefined && this.#options.now() - readAt < refuseAfterMs;
    }
    return letIn + newcomers <= this.#trusted;
  }

  #roomOn(date: CalendarDate): number {
    const { names } = this.#day(date);
    return Math.max(0, this.#options.countersPerDayMax - names.size);
  }

  /** Reads the keys of a day, which are added to those that were let in here, and judges by them. */
  async #read(
    date: CalendarDate,
    names: ReadonlySet<string>,
    deadline: number,
  ): Promise<JudgedDay> {
    const day = this.#day(date);
    const { client, countersTable: TableName, now } = this.#options;
    const startedAt = now();
    do {
      if (now() > deadline) {
        throw new Unavailable(
          'overloaded',
          'It takes long to find out whether there is room for the new counters of this batch. Send it again after a moment, or in smaller batches.',
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
        // Somebody else may have written it without escapes.
        if (key?.S !== undefined) this.#add(day, keyOf(typeAndStateOf(key.S)));
      }
      day.next = page.LastEvaluatedKey;
    } while (day.next !== undefined);
    day.readAt = startedAt;
    day.letIn = 0;
    day.isForgotten = false;
    const judged = this.#judge(date, names);
    this.#makeRoom();
    return judged;
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
      letIn: 0,
      readAt: undefined,
      next: undefined,
      isForgotten: false,
    };
    this.#days.delete(date);
    this.#days.set(date, day);
    return day;
  }

  /** Forgets the names of the days that were not asked about for the longest time, but not of the last. */
  #makeRoom(): void {
    let kept = this.#days.size;
    for (const [date, day] of this.#days) {
      if (kept > daysMax) this.#days.delete(date);
      else if (this.#names <= namesMax || kept === 1) return;
      kept--;
      if (day.names.size === 0) continue;
      this.#names -= day.names.size;
      Object.assign(day, { names: new Set(), next: undefined, isForgotten: true });
    }
  }
}

function keyOf({ type, state }: Pick<Counter, 'type' | 'state'>): string {
  return typeStateKey(type, state);
}
