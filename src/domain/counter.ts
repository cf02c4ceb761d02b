import type { CalendarDate } from './timestamp.ts';

/** One counter: how many devices of a type came to a state on a date. */
export interface CounterRow {
  readonly date: CalendarDate;
  readonly type: string;
  readonly state: string;
  readonly count: number;
}

/**
 * Increments by date, then type, then state. Maps in maps: a third faster than one map over
 * joined keys, and no name can be mistaken for another.
 */
export type Increments = Map<CalendarDate, Map<string, Map<string, number>>>;

/** Adds to one counter of the tally; returns how many counters that added (0 or 1). */
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

/** Adds every increment of `more` to `tally`; returns how many counters that added. */
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
 * The sort key of a counter within its date: type, `#`, state. `%` and `#` in the type are
 * written `%25` and `%23`, so that `a#b`+`c` and `a`+`b#c` stay apart.
 */
export function typeStateKey(type: string, state: string): string {
  return `${type.replace(/[%#]/g, (mark) => (mark === '%' ? '%25' : '%23'))}#${state}`;
}

/** By date, then by type and state in the UTF-8 byte order of their sort key. */
export function compareCounters(
  a: Omit<CounterRow, 'count'>,
  b: Omit<CounterRow, 'count'>,
): number {
  if (a.date !== b.date) return a.date < b.date ? -1 : 1;
  return compareUtf8(typeStateKey(a.type, a.state), typeStateKey(b.type, b.state));
}

/** The order of the strings' UTF-8 bytes. JavaScript's own order differs beyond U+FFFF. */
export function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** A string that compares as the UTF-8 bytes of another do. */
export function bytesKey(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** The type and state that a sort key names. One that somebody else wrote may be escaped or not. */
export function typeAndStateOf(key: string): { readonly type: string; readonly state: string } {
  const at = key.indexOf('#');
  const escaped = at === -1 ? key : key.slice(0, at);
  const type = escaped.replace(/%2[35]/g, (code) => (code === '%25' ? '%' : '#'));
  return { type, state: at === -1 ? '' : key.slice(at + 1) };
}
