import { setTimeout as delay } from 'node:timers/promises';

/** The limits of retries, with clock, sleep and randomness as arguments. */
export interface Backoff {
  /** The number of attempts, including the first. */
  readonly attemptsMax: number;
  readonly delayMsMax: number;
  /** Milliseconds since 1970. No attempt begins after it. */
  readonly deadline: number;
  readonly now: () => number;
  readonly sleep: (milliseconds: number) => Promise<void>;
  /** From 0 to 1. */
  readonly random: () => number;
}

/** The given limits, with the clock and the randomness of this process. */
export function realBackoff(
  limits: Pick<Backoff, 'attemptsMax' | 'delayMsMax'> & { readonly deadline?: number | undefined },
): Backoff {
  const sleep = (milliseconds: number) => delay(milliseconds);
  const { deadline = Number.POSITIVE_INFINITY } = limits;
  return { ...limits, deadline, now: Date.now, sleep, random: Math.random };
}

const firstDelayMs = 25;

/**
 * Waits before the next attempt: exponential backoff with full jitter. `attempts` is the number made
 * so far. Returns false if no attempt is left or the deadline comes first.
 */
export async function waitForRetry(backoff: Backoff, attempts: number): Promise<boolean> {
  if (attempts >= backoff.attemptsMax) return false;
  const delayMs = backoff.random() * Math.min(backoff.delayMsMax, firstDelayMs * 2 ** attempts);
  if (backoff.now() + delayMs >= backoff.deadline) return false;
  await backoff.sleep(delayMs);
  return true;
}

/** Calls `act` again while it fails with an error that may pass and the backoff has not ended. */
export async function withRetries<T>(
  backoff: Backoff,
  mayPass: (error: unknown) => boolean,
  act: () => Promise<T>,
): Promise<T> {
  for (let attempts = 1; ; attempts++) {
    try {
      return await act();
    } catch (error) {
      if (!mayPass(error) || !(await waitForRetry(backoff, attempts))) throw error;
    }
  }
}
