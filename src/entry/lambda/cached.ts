/** Runs the task until it succeeds, and then returns its result for `ms` milliseconds. */
export function cached<T>(task: () => Promise<T>, ms = Number.POSITIVE_INFINITY): () => Promise<T> {
  let running: Promise<T> | undefined;
  let startedAt = 0;
  return () => {
    if (running !== undefined && performance.now() - startedAt < ms) return running;
    startedAt = performance.now();
    running = task().catch((error: unknown) => {
      running = undefined;
      throw error;
    });
    return running;
  };
}
