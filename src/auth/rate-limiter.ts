import type { RateLimit } from './token.ts';

/** The most callers in memory; those with full buckets can be forgotten. */
const callersMax = 4_096;

/**
 * A token bucket per caller, stored as the time at which it will be full again (generic cell rate
 * algorithm). Times are milliseconds of a monotonic clock.
 */
export class RateLimiter {
  readonly #now: () => number;
  readonly #fullAt = new Map<string, number>();

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Takes one request from the caller's bucket. Returns 0, or the seconds to wait if it is empty. */
  take(caller: string, { perSecond, burst }: RateLimit): number {
    const now = this.#now();
    const spacingMs = 1000 / perSecond;
    const known = this.#fullAt.get(caller);
    const fullAt = Math.max(known ?? now, now) + spacingMs;
    const waitMs = fullAt - burst * spacingMs - now;
    // Tolerates rounding errors.
    if (waitMs > 1e-6) return Math.max(1, Math.ceil(waitMs / 1000));
    if (known === undefined && this.#fullAt.size >= callersMax) this.#forget(now);
    this.#fullAt.set(caller, fullAt);
    return 0;
  }

  /** Undoes `take` for a request for which it will be called again. */
  refund(caller: string, { perSecond }: RateLimit): void {
    const known = this.#fullAt.get(caller);
    if (known !== undefined) this.#fullAt.set(caller, known - 1000 / perSecond);
  }

  get callers(): number {
    return this.#fullAt.size;
  }

  /** Forgets full buckets, which equal those of new callers; if there are none, the oldest one. */
  #forget(now: number): void {
    for (const [caller, fullAt] of this.#fullAt) {
      if (fullAt <= now) this.#fullAt.delete(caller);
    }
    const [oldest] = this.#fullAt.keys();
    if (oldest !== undefined && this.#fullAt.size >= callersMax) this.#fullAt.delete(oldest);
  }
}
