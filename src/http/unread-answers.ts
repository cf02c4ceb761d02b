import type { ServerResponse } from 'node:http';

import type { Progress } from './answer.ts';
import { MemoryBudget } from './memory-budget.ts';

/** Smaller answers cost no more than their connections, and are not counted. */
const countedBytes = 64 * 1024;

/** What one that is made while it is taken has in memory at most, on both threads. */
const streamBytes = 4 * 1024 * 1024;
/** One that is taken more slowly than this, before it is compressed, holds up the database too long. */
const streamBytesPerMs = 64;
/** A client that is too slow is noticed so much of its time later, as a fraction. */
const checksEach = 8;

/**
 * Bounds the answers that clients have asked for and not read yet: each lies in memory until it has
 * gone. Beyond the bound large ones are refused, and who does not read one in time is cut off.
 */
export class UnreadAnswers {
  readonly #budget: MemoryBudget;
  readonly #bytesMax: number;
  readonly #readMs: number;

  /**
   * @param readMs so long may a client take to read an answer; of one that is made meanwhile, to
   *   read the next piece, and for every 64 KiB a second more.
   */
  constructor(bytesMax: number, readMs: number) {
    this.#budget = new MemoryBudget(bytesMax);
    this.#bytesMax = bytesMax;
    this.#readMs = readMs;
  }

  /** Of the answers that are counted. */
  get bytes(): number {
    return this.#budget.bytes;
  }

  /** Whether an answer of so many bytes, or so made, may be given; it is counted until it has gone. */
  admit(response: ServerResponse, size: number | Progress): boolean {
    const bytes = typeof size === 'number' ? size : streamBytes;
    if (bytes < countedBytes) return true;
    // One that is larger than the bound is given alone.
    const held = Math.min(bytes, this.#bytesMax);
    if (!this.#budget.reserve(held)) return false;
    const stop = typeof size === 'number' ? this.#limit(response) : this.#watch(response, size);
    response.once('close', () => {
      stop();
      this.#budget.release(held);
    });
    return true;
  }

  #limit(response: ServerResponse): () => void {
    const timer = setTimeout(() => response.destroy(), this.#readMs);
    return () => clearTimeout(timer);
  }

  #watch(response: ServerResponse, progress: Progress): () => void {
    const startedAt = performance.now();
    let [taken, takenAt] = [progress.bytes, startedAt];
    const timer = setInterval(() => {
      const now = performance.now();
      if (progress.bytes !== taken) [taken, takenAt] = [progress.bytes, now];
      const isLate = now - startedAt > this.#readMs + taken / streamBytesPerMs;
      if (isLate || now - takenAt >= this.#readMs) response.destroy();
    }, this.#readMs / checksEach);
    return () => clearInterval(timer);
  }
}
