import type { RateLimit } from '../../auth/access-token.ts';

/** So many callers are known at once; who has not asked for a while needs not be. */
const callersMax = 4_096;

/**
 * A token bucket for each caller, kept as one number: the time at which it will be full again
 * (the generic cell rate algorithm). Times are milliseconds of a clock that only goes forward.
 */
export class RateLimiter {
  readonly #now: () => number;
  readonly #fullAt = new Map<string, number>();

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Takes one request from the caller's bucket: 0, or the seconds after which there is one. */
  take(caller: string, { perSecond, burst }: RateLimit): number {
    const now = this.#now();
    const spacingMs = 1000 / perSecond;
    const known = this.#fullAt.get(caller);
    const fullAt = Math.max(known ?? now, now) + spacingMs;
    const waitMs = fullAt - burst * spacingMs - now;
    // Sums of fractions are a little off.
    if (waitMs > 1e-6) return Math.max(1, Math.ceil(waitMs / 1000));
    if (known === undefined && this.#fullAt.size >= callersMax) this.#forget(now);
    this.#fullAt.set(caller, fullAt);
    return 0;
  }

  /** Undoes `take` for a request that will be asked for again. */
  refund(caller: string, { perSecond }: RateLimit): void {
    const known = this.#fullAt.get(caller);
    if (known !== undefined) this.#fullAt.set(caller, known - 1000 / perSecond);
  }

  get callers(): number {
    return this.#fullAt.size;
  }

  /** A full bucket is one like that of a caller who never came. */
  #forget(now: number): void {
    for (const [caller, fullAt] of this.#fullAt) {
      if (fullAt <= now) this.#fullAt.delete(caller);
    }
    const [oldest] = this.#fullAt.keys();
    if (oldest !== undefined && this.#fullAt.size >= callersMax) this.#fullAt.delete(oldest);
  }
}
