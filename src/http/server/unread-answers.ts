import type { Progress } from '../app/answer.ts';
import { MemoryBudget } from './memory-budget.ts';
import type { NodeExchange } from './node-exchange.ts';

/** Smaller responses are not counted: they cost no more than their connections. */
const countedBytes = 64 * 1024;

type Answered = Pick<NodeExchange, 'response' | 'size' | 'cutOff'>;

/** The memory of a streamed response, at most, on both threads. */
const streamBytes = 4 * 1024 * 1024;
/** A streamed response that is read more slowly, before compression, blocks the database too long. */
const streamBytesPerMs = 64;
/** How often within `readMs` the progress of a streamed response is checked. */
const checksPerReadMs = 8;

/** The share of the budget for responses that need no token. */
const publicShare = 1 / 8;

/**
 * Limits the memory of responses that clients have not read yet. Above the limit, large responses are
 * refused. A client that does not read its response in time is disconnected.
 */
export class UnreadAnswers {
  readonly #budget: MemoryBudget;
  /** Public responses have their own budget, so they cannot starve authenticated ones. */
  readonly #publicBudget: MemoryBudget;
  readonly #readMs: number;

  /**
   * @param readMs how long a client may take to read a response. For a streamed response: to read the
   *   next piece, and in total one second more for every 64 KB.
   */
  constructor(bytesMax: number, readMs: number) {
    this.#budget = new MemoryBudget(bytesMax * (1 - publicShare));
    this.#publicBudget = new MemoryBudget(bytesMax * publicShare);
    this.#readMs = readMs;
  }

  /** The bytes of all counted responses. */
  get bytes(): number {
    return this.#budget.bytes + this.#publicBudget.bytes;
  }

  /** Whether a response may be sent; if so, its memory is reserved until the response closes. */
  admit(exchange: Answered, isPublic: boolean): boolean {
    const { response, size } = exchange;
    const bytes = typeof size === 'number' ? size : streamBytes;
    if (bytes < countedBytes) return true;
    // A response above the limit is sent only when nothing else is in flight.
    const budget = isPublic ? this.#publicBudget : this.#budget;
    const reserved = Math.min(bytes, budget.bytesMax);
    if (!budget.reserve(reserved)) return false;
    const stop = typeof size === 'number' ? this.#limit(exchange) : this.#watch(exchange, size);
    response.once('close', () => {
      stop();
      budget.release(reserved);
    });
    return true;
  }

  #limit(exchange: Answered): () => void {
    const timer = setTimeout(() => exchange.cutOff('too_slow'), this.#readMs);
    return () => clearTimeout(timer);
  }

  #watch(exchange: Answered, progress: Progress): () => void {
    const startedAt = performance.now();
    let [taken, takenAt] = [progress.bytes, startedAt];
    const timer = setInterval(() => {
      const now = performance.now();
      if (progress.bytes !== taken) [taken, takenAt] = [progress.bytes, now];
      const isLate = now - startedAt > this.#readMs + taken / streamBytesPerMs;
      if (isLate || now - takenAt >= this.#readMs) exchange.cutOff('too_slow');
    }, this.#readMs / checksPerReadMs);
    return () => clearInterval(timer);
  }
}
