import type { Retry } from './post-batch.ts';

/** A batch is reported if its retries, including the next wait, take longer than this, */
const reportAfterMs = 5_000;
/** or if its request has no response after this time, */
const noAnswerAfterMs = 10_000;
/** but at most once in this time, so that an outage does not flood the output. */
const reportEveryMs = 30_000;

/**
 * Writes a line when batches are retried for some seconds, so that users see why nothing happens.
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
    this.#report(`has not accepted a batch${since}; retrying${after}: ${reason}`);
  };

  /** Reports a batch that has no outcome for long although no retry was reported. */
  async watch<Outcome>(outcome: Promise<Outcome>): Promise<Outcome> {
    const startedAt = this.#now();
    const timer = setInterval(() => {
      const seconds = Math.round((this.#now() - startedAt) / 1000);
      this.#report(`has not responded to a batch for ${seconds} s; still waiting`);
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
