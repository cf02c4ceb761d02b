import { removeOldSegments, type RetentionOptions } from '../manage/retention.ts';
import type { Pruned } from '../archive-messages.ts';

const hourMs = 3_600_000;

/**
 * Removes old segments from the archive once the server has claimed it, and then every hour.
 * Shipping continues meanwhile and does not depend on it: a failed removal is retried an hour
 * later.
 */
export class HourlyRetention {
  readonly #options: RetentionOptions;
  readonly #report: (outcome: Pruned) => void;
  #timer: NodeJS.Timeout | undefined;
  #isStarted = false;

  constructor(options: RetentionOptions, report: (outcome: Pruned) => void) {
    this.#options = options;
    this.#report = report;
  }

  /** Safe to repeat. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    void this.#run();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  async #run(): Promise<void> {
    try {
      const removed = await removeOldSegments(this.#options);
      const bytes = removed.reduce((sum, one) => sum + one.bytes, 0);
      if (removed.length > 0) this.#report({ objects: removed.length, bytes });
    } catch (error) {
      this.#report({ problem: error instanceof Error ? error.message : String(error) });
    }
    this.#timer = setTimeout(() => void this.#run(), hourMs).unref();
  }
}
