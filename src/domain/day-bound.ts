import type { CounterRow } from './counter.ts';
import type { CalendarDate } from './timestamp.ts';

/** So many distinct counters may a day have, where nothing else is set. */
export const countersPerDayMaxDefault = 100_000;

/** A counter without what it has counted. */
export type Counter = Omit<CounterRow, 'count'>;

/** One text for the names of a counter within its day: no name holds a control character. */
export function counterName({ type, state }: Pick<Counter, 'type' | 'state'>): string {
  return `${type}\u0000${state}`;
}

export interface KnownCounters {
  /** Whether the counter is there, or surely will be. */
  has(counter: Counter): boolean;
  /** How many more may come into being on a day. */
  newCountersLeft(date: CalendarDate): number;
}

/**
 * Says of counters, one after the other, whether each may be counted: it is there, came before in
 * the same row, or is a new one for which its day has room. Those that come first get the room.
 */
export function admitInOrder(known: KnownCounters): (counter: Counter) => boolean {
  const taken = new Map<CalendarDate, Set<string>>();
  return (counter) => {
    const { date } = counter;
    const name = counterName(counter);
    const names = taken.get(date);
    if (names?.has(name) === true || known.has(counter)) return true;
    if (known.newCountersLeft(date) <= (names?.size ?? 0)) return false;
    if (names === undefined) taken.set(date, new Set([name]));
    else names.add(name);
    return true;
  };
}
