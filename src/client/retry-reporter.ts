import type { Retry } from './post-batch.ts';

/** A batch that is tried, or will have waited, for longer than this is reported, */
const reportAfterMs = 5_000;
/** one whose request has no answer yet after this time, */
const noAnswerAfterMs = 10_000;
/** and others only after this time: an outage is one line now and then. */
const reportEveryMs = 30_000;

/**
 * Writes a line where batches are tried for more than some seconds, so that the user of a program
 * sees why nothing moves.
 */
export class RetryReporter {
  readonly #target: string;
  readonly #write: (text: string) => void;
  readonly #now: () => number;
  #reportedAt = -Infinity;

  constructor(
    target: string,
    write: (text: string) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#target = target;
    this.#write = write;
    this.#now = now;
  }

  readonly onRetry = ({ reason, elapsedMs, waitMs }: Retry): void => {
    if (elapsedMs + waitMs < reportAfterMs) return;
    const since = elapsedMs < 1000 ? '' : ` for ${Math.floor(elapsedMs / 1000)} s`;
    const after = waitMs < 1000 ? '' : ` in ${Math.ceil(waitMs / 1000)} s`;
    this.#report(`has not taken a batch${since}; trying again${after}: ${reason}`);
  };

  /** Reports it, too, where a batch has no outcome for long and no retry was reported meanwhile. */
  async watch<Outcome>(outcome: Promise<Outcome>): Promise<Outcome> {
    const startedAt = this.#now();
    const timer = setInterval(() => {
      const seconds = Math.round((this.#now() - startedAt) / 1000);
      this.#report(`has not answered a batch for ${seconds} s; waiting`);
    }, noAnswerAfterMs).unref();
    try {
      return await outcome;
    } finally {
      clearInterval(timer);
    }
  }

  #report(what: string): void {
    if (this.#now() - this.#reportedAt < reportEveryMs) return;
    this.#reportedAt = this.#now();
    this.#write(`${this.#target} ${what}`);
  }
}
