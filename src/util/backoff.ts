/** When to try again, and when to give up. */
export interface Backoff {
  /** Tries in all. */
  readonly attemptsMax: number;
  readonly delayMsMax: number;
  /** Milliseconds since 1970. No new try is begun after it. */
  readonly deadline: number;
  readonly now: () => number;
  readonly sleep: (milliseconds: number) => Promise<void>;
  /** From 0 to 1. */
  readonly random: () => number;
}

const firstDelayMs = 25;

/**
 * Waits before the next try, `attempts` having been made: anything from nothing to a bound that
 * doubles, so that those who collided do not collide again ("full jitter"). False where no try is
 * left or there is no time for one.
 */
export async function waitForRetry(backoff: Backoff, attempts: number): Promise<boolean> {
  if (attempts >= backoff.attemptsMax) return false;
  const delayMs = backoff.random() * Math.min(backoff.delayMsMax, firstDelayMs * 2 ** attempts);
  if (backoff.now() + delayMs >= backoff.deadline) return false;
  await backoff.sleep(delayMs);
  return true;
}
