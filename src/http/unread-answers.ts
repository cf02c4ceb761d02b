import type { ServerResponse } from 'node:http';

import { MemoryBudget } from './memory-budget.ts';

/** Smaller answers cost no more than their connections, and are not counted. */
const countedBytes = 64 * 1024;

/**
 * Bounds the answers that clients have asked for and not read yet: each lies in memory until it has
 * gone. Beyond the bound large ones are refused, and who does not read one in time is cut off.
 */
export class UnreadAnswers {
  readonly #budget: MemoryBudget;
  readonly #bytesMax: number;
  readonly #readMs: number;

  /** @param readMs so long may a client take to read an answer. */
  constructor(bytesMax: number, readMs: number) {
    this.#budget = new MemoryBudget(bytesMax);
    this.#bytesMax = bytesMax;
    this.#readMs = readMs;
  }

  /** Of the answers that are counted. */
  get bytes(): number {
    return this.#budget.bytes;
  }

  /** Whether an answer of so many bytes may be given; it is counted until it has gone. */
  admit(response: ServerResponse, bytes: number): boolean {
    if (bytes < countedBytes) return true;
    // One that is larger than the bound is given alone.
    const held = Math.min(bytes, this.#bytesMax);
    if (!this.#budget.reserve(held)) return false;
    const timer = setTimeout(() => response.destroy(), this.#readMs);
    response.once('close', () => {
      clearTimeout(timer);
      this.#budget.release(held);
    });
    return true;
  }
}
