import { randomFillSync } from 'node:crypto';

const pool = Buffer.alloc(4096);
let used = pool.length;

/**
 * `length` random bytes, at most 4,096, from a pool: a call of the generator costs as much as the rest
 * of a small batch. Valid until the pool is refilled: copy them to keep them.
 */
export function randomBytes(length: number): Uint8Array {
  if (used + length > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += length;
  return pool.subarray(used - length, used);
}
