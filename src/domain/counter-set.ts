import type { Increments } from './counter.ts';
import type { Counter } from './day-bound.ts';
import type { CalendarDate } from './timestamp.ts';

/** A set of counters: nested maps like `Increments`, so that lookups need not join names. */
export class CounterSet {
  readonly #days = new Map<CalendarDate, Map<string, Set<string>>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has({ date, type, state }: Counter): boolean {
    return this.#days.get(date)?.get(type)?.has(state) === true;
  }

  hasAll(increments: Increments): boolean {
    for (const [date, types] of increments) {
      const known = this.#days.get(date);
      if (known === undefined) return false;
      for (const [type, states] of types) {
        const knownStates = known.get(type);
        if (knownStates === undefined) return false;
        for (const state of states.keys()) if (!knownStates.has(state)) return false;
      }
    }
    return true;
  }

  add({ date, type, state }: Counter): void {
    let types = this.#days.get(date);
    if (types === undefined) this.#days.set(date, (types = new Map<string, Set<string>>()));
    let states = types.get(type);
    if (states === undefined) types.set(type, (states = new Set<string>()));
    const { size } = states;
    states.add(state);
    this.#size += states.size - size;
  }
}
