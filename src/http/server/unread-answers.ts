import type { ServerResponse } from 'node:http';

import type { Progress } from '../app/answer.ts';
import { recordCut } from './exchanges.ts';
import { MemoryBudget } from './memory-budget.ts';

/** Smaller answers cost no more than their connections, and are not counted. */
const countedBytes = 64 * 1024;

/** What one that is made while it is taken has in memory at most, on both threads. */
const streamBytes = 4 * 1024 * 1024;
/** One that is taken more slowly than this, before it is compressed, holds up the database too long. */
const streamBytesPerMs = 64;
/** A client that is too slow is noticed so much of its time later, as a fraction. */
const checksEach = 8;

/** The part of all that answers may have which anybody may ask for, without a token. */
const publicShare = 1 / 8;

/**
 * Bounds the answers that clients have asked for and not read yet: each lies in memory until it has
 * gone. Beyond the bound large ones are refused, and who does not read one in time is cut off.
 */
export class UnreadAnswers {
  readonly #budget: MemoryBudget;
  /** Whoever may not read the counters must not take the room of those who may. */
  readonly #publicBudget: MemoryBudget;
  readonly #readMs: number;

  /**
   * @param readMs so long may a client take to read an answer; of one that is made meanwhile, to
   *   read the next piece, and for every 64 KiB a second more.
   */
  constructor(bytesMax: number, readMs: number) {
    this.#budget = new MemoryBudget(bytesMax * (1 - publicShare));
    this.#publicBudget = new MemoryBudget(bytesMax * publicShare);
    this.#readMs = readMs;
  }

  /** Of the answers that are counted. */
  get bytes(): number {
    return this.#budget.bytes + this.#publicBudget.bytes;
  }

  /** Whether an answer of so many bytes, or so made, may be given; it is counted until it has gone. */
  admit(response: ServerResponse, size: number | Progress, isPublic: boolean): boolean {
    const bytes = typeof size === 'number' ? size : streamBytes;
    if (bytes < countedBytes) return true;
    // One that is larger than the bound is given alone.
    const budget = isPublic ? this.#publicBudget : this.#budget;
    const held = Math.min(bytes, budget.bytesMax);
    if (!budget.reserve(held)) return false;
    const stop = typeof size === 'number' ? this.#limit(response) : this.#watch(response, size);
    response.once('close', () => {
      stop();
      budget.release(held);
    });
    return true;
  }

  #limit(response: ServerResponse): () => void {
    const timer = setTimeout(() => disconnect(response), this.#readMs);
    return () => clearTimeout(timer);
  }

  #watch(response: ServerResponse, progress: Progress): () => void {
    const startedAt = performance.now();
    let [taken, takenAt] = [progress.bytes, startedAt];
    const timer = setInterval(() => {
      const now = performance.now();
      if (progress.bytes !== taken) [taken, takenAt] = [progress.bytes, now];
      const isLate = now - startedAt > this.#readMs + taken / streamBytesPerMs;
      if (isLate || now - takenAt >= this.#readMs) disconnect(response);
    }, this.#readMs / checksEach);
    return () => clearInterval(timer);
  }
}

function disconnect(response: ServerResponse): void {
  recordCut(response, 'too_slow');
  response.destroy();
}
