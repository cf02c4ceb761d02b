/** Repeatable chance: the same seed gives the same numbers. */
export interface Chance {
  /** A whole number of 0 to limit - 1. */
  below(limit: number): number;
  pick<Item>(items: readonly Item[]): Item;
  /** True once in so many. */
  oneIn(count: number): boolean;
}

/** Mulberry32. */
export function chanceOf(seed: number): Chance {
  let state = Math.imul(seed, 2_654_435_761) >>> 0;
  const below = (limit: number) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
  return {
    below,
    pick: <Item>(items: readonly Item[]) => items[below(items.length)] as Item,
    oneIn: (count) => below(count) === 0,
  };
}
