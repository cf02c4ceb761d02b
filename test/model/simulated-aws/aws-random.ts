import { seededRandom } from '../../../infra/local/seeded-random.ts';

/** All chance of a schedule; the same seed gives the same draws. */
export interface Random {
  /** From 0 up to, not with, 1. */
  next(): number;
  /** A whole number from 0 up to, not with, `limit`. */
  below(limit: number): number;
  chance(probability: number): boolean;
  pick<T>(choices: readonly T[]): T;
  bytes(count: number): Uint8Array;
  uuid(): string;
}

export function randomFrom(seed: number): Random {
  // Seeds that follow one another are to have nothing in common.
  const next = seededRandom(Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995);
  const below = (limit: number) => Math.floor(next() * limit);
  const bytes = (count: number) => Uint8Array.from({ length: count }, () => below(256));
  return {
    next,
    below,
    chance: (probability) => next() < probability,
    pick: (choices) => choices[below(choices.length)] as (typeof choices)[number],
    bytes,
    uuid() {
      const hex = Buffer.from(bytes(16)).toString('hex');
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`;
    },
  };
}
