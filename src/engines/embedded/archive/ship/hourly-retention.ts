import { removeOldSegments, type RetentionOptions } from '../manage/retention.ts';
import type { Pruned } from '../archive-messages.ts';

const hourMs = 3_600_000;

/**
 * Removes old segments from the archive once the server has claimed it, and then every hour.
 * Shipping continues meanwhile and does not depend on it: a failed removal is retried an hour
 * later.
 */
export function hourlyRetention(options: RetentionOptions, report: (outcome: Pruned) => void) {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  const run = async () => {
    try {
      const removed = await removeOldSegments(options);
      const bytes = removed.reduce((sum, one) => sum + one.bytes, 0);
      if (removed.length > 0) report({ objects: removed.length, bytes });
    } catch (error) {
      report({ problem: error instanceof Error ? error.message : String(error) });
    }
    timer = setTimeout(() => void run(), hourMs).unref();
  };
  /** `start` is safe to repeat. */
  return { start: () => void (running ??= run()), stop: () => clearTimeout(timer) };
}
