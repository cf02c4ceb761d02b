import type { CounterRow } from './counter.ts';
import type { CalendarDate } from './timestamp.ts';

/** The default limit of distinct counters of a day. */
export const countersPerDayMaxDefault = 100_000;

/** A counter without its count. */
export type Counter = Omit<CounterRow, 'count'>;

/** The names of a counter as one text, unique within its day: names have no control characters. */
export function counterName({ type, state }: Pick<Counter, 'type' | 'state'>): string {
  return `${type}\u0000${state}`;
}

interface KnownCounters {
  /** Whether the counter exists or certainly will. */
  has(counter: Counter): boolean;
  /** How many new counters fit the limit of the day. */
  newCountersLeft(date: CalendarDate): number;
}

/**
 * Returns a function that admits counters one after another, first come, first served. It admits
 * known counters, those it has admitted before, and new ones that fit the limit of their day.
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
