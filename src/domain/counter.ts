import type { CalendarDate } from './timestamp.ts';

/** One counter: how many devices of a type reached a state on a date. */
export interface CounterRow {
  readonly date: CalendarDate;
  readonly type: string;
  readonly state: string;
  readonly count: number;
}

/**
 * Increments by date, then type, then state. Nested maps are a third faster than one map with joined
 * keys, and need no escaping.
 */
export type Increments = Map<CalendarDate, Map<string, Map<string, number>>>;

/** Adds to one counter; returns the number of counters that are new in `increments` (0 or 1). */
export function addIncrement(
  increments: Increments,
  { date, type, state }: Omit<CounterRow, 'count'>,
  count = 1,
): 0 | 1 {
  let types = increments.get(date);
  if (types === undefined) increments.set(date, (types = new Map<string, Map<string, number>>()));
  let states = types.get(type);
  if (states === undefined) types.set(type, (states = new Map<string, number>()));
  const before = states.get(state);
  states.set(state, (before ?? 0) + count);
  return before === undefined ? 1 : 0;
}

/** Adds `more` to `increments`; returns the number of counters that are new there. */
export function mergeIncrements(increments: Increments, more: Increments): number {
  let added = 0;
  for (const row of rowsOfIncrements(more)) added += addIncrement(increments, row, row.count);
  return added;
}

export function* rowsOfIncrements(increments: Increments): Generator<CounterRow> {
  for (const [date, types] of increments) {
    for (const [type, states] of types) {
      for (const [state, count] of states) yield { date, type, state, count };
    }
  }
}

/**
 * The sort key of a counter within its date: type, `#`, state. `%` and `#` in the type are escaped
 * as `%25` and `%23`, so that `a#b`+`c` and `a`+`b#c` differ.
 */
export function typeStateKey(type: string, state: string): string {
  return `${type.replace(/[%#]/g, (mark) => (mark === '%' ? '%25' : '%23'))}#${state}`;
}

/** Orders counters by date, then by sort key in UTF-8 byte order. */
export function compareCounters(
  a: Omit<CounterRow, 'count'>,
  b: Omit<CounterRow, 'count'>,
): number {
  if (a.date !== b.date) return a.date < b.date ? -1 : 1;
  return compareUtf8(typeStateKey(a.type, a.state), typeStateKey(b.type, b.state));
}

/** Compares strings by their UTF-8 bytes. JavaScript's own order differs beyond U+FFFF. */
export function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** A string whose order in JavaScript is the UTF-8 byte order of `text`. */
export function bytesKey(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** The type and state of a sort key. Keys that other programs wrote may lack the escaping. */
export function typeAndStateOf(key: string): { readonly type: string; readonly state: string } {
  const at = key.indexOf('#');
  const escaped = at === -1 ? key : key.slice(0, at);
  const type = escaped.replace(/%2[35]/g, (code) => (code === '%25' ? '%' : '#'));
  return { type, state: at === -1 ? '' : key.slice(at + 1) };
}
