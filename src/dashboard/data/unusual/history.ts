import { addDays, countDays, type Day, type Range } from '../calendar/days.ts';
import type { Row } from '../counts.ts';

/** Events and failures of each day of a window, by index from its first day. */
export interface Part {
  readonly events: readonly number[];
  readonly failed: readonly number[];
}

/** The counts by which days are judged. */
export interface History {
  /** Its first eight weeks are only compared with. */
  readonly window: Range;
  /** The index of the first day of the data; before it, nothing is known. */
  readonly first: number;
  readonly all: Part;
  readonly types: ReadonlyMap<string, Part>;
  readonly states: ReadonlyMap<string, Part>;
  /** The states that are failures. */
  readonly failing: ReadonlySet<string>;
  /** By type, then by failing state. */
  readonly failures: ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>;
}

/** How many weeks before a day it is compared with. */
export const weeks = 8;
const judgedDaysMin = 28;
const judgedDaysMax = 92;

/**
 * The days to judge for a range, and the eight weeks before them. Of a short range also days before it,
 * so that a finding can say since when it lasts.
 */
export function windowOf(range: Range): Range {
  const days = Math.max(judgedDaysMin, Math.min(judgedDaysMax, countDays(range)));
  const from = addDays(range.to, 1 - days);
  return { from: addDays(from, -7 * weeks), to: range.to };
}

interface DraftPart {
  readonly events: number[];
  readonly failed: number[];
}

/** Sums rows to a history. Rows outside the window are ignored; an empty name stands for several. */
export function historyOf(
  window: Range,
  rows: Iterable<Row>,
  isFailing: (state: string) => boolean,
): History {
  const days = countDays(window);
  const at = new Map<Day, number>();
  for (let index = 0; index < days; index++) at.set(addDays(window.from, index), index);
  const empty = (): number[] => new Array<number>(days).fill(0);
  const part = (): DraftPart => ({ events: empty(), failed: empty() });
  const all = part();
  const [types, states] = [new Map<string, DraftPart>(), new Map<string, DraftPart>()];
  const failures = new Map<string, Map<string, number[]>>();
  for (const { date, type, state, count } of rows) {
    const index = at.get(date);
    if (index === undefined) continue;
    const own = [all];
    if (type !== '') own.push(entry(types, type, part));
    if (state !== '') own.push(entry(states, state, part));
    for (const each of own) {
      each.events[index] = (each.events[index] ?? 0) + count;
      if (isFailing(state)) each.failed[index] = (each.failed[index] ?? 0) + count;
    }
    if (!isFailing(state)) continue;
    const sums = entry(
      entry(failures, type, () => new Map<string, number[]>()),
      state,
      empty,
    );
    sums[index] = (sums[index] ?? 0) + count;
  }
  const first = all.events.findIndex((count) => count > 0);
  const failing = new Set([...states.keys()].filter(isFailing));
  const counts = { all, types, states, failing, failures };
  return { window, first: first === -1 ? days : first, ...counts };
}

function entry<T>(map: Map<string, T>, key: string, make: () => T): T {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
