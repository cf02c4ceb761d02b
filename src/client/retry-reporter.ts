import type { Retry } from './post-batch.ts';

/** A batch that is tried, or will have waited, for longer than this is reported, */
const reportAfterMs = 5_000;
/** and others only after this time: an outage is one line now and then. */
const reportEveryMs = 30_000;

/**
 * Writes a line where batches are tried for more than some seconds, so that the user of a program
 * sees why nothing moves.
 */
export function retryReporter(
  target: string,
  write: (text: string) => void,
  now: () => number = () => performance.now(),
): (retry: Retry) => void {
  let reportedAt = -Infinity;
  return ({ reason, elapsedMs, waitMs }) => {
    if (elapsedMs + waitMs < reportAfterMs || now() - reportedAt < reportEveryMs) return;
    reportedAt = now();
    const since = elapsedMs < 1000 ? '' : ` for ${Math.floor(elapsedMs / 1000)} s`;
    const after = waitMs < 1000 ? '' : ` in ${Math.ceil(waitMs / 1000)} s`;
    write(`${target} has not taken a batch${since}; trying again${after}: ${reason}`);
  };
}
