import { seededRandom } from '../../infra/local/seeded-random.ts';

/** Repeatable chance: the same seed gives the same numbers. */
export interface Chance {
  /** A whole number of 0 to limit - 1. */
  below(limit: number): number;
  pick<Item>(items: readonly Item[]): Item;
  /** True once in `count` calls, on average. */
  oneIn(count: number): boolean;
}

export function chanceOf(seed: number): Chance {
  const random = seededRandom(Math.imul(seed, 2_654_435_761));
  const below = (limit: number) => Math.floor(random() * limit);
  return {
    below,
    pick: <Item>(items: readonly Item[]) => items[below(items.length)] as Item,
    oneIn: (count) => below(count) === 0,
  };
}
