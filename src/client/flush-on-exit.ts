import type { Client } from './client.ts';

/**
 * Closes the client when the process is asked to end (SIGTERM, SIGINT), and then lets it end as that
 * signal ends it. Nothing does this unless it is called; the answer undoes it. A process that has
 * nothing left to do needs it not: it stays until what is buffered is sent. `process.exit` waits for
 * nothing: call `close` before it. An error of `close` goes to `onError`.
 */
export function flushOnExit(
  client: Client,
  { timeoutMs = 10_000, onError }: { timeoutMs?: number; onError?: (error: unknown) => void } = {},
): () => void {
  const close = async () => {
    try {
      await client.close(timeoutMs);
    } catch (error) {
      if (onError === undefined) throw error;
      onError(error);
    }
  };
  const onSignal = (signal: NodeJS.Signals) => {
    undo();
    void close().finally(() => process.kill(process.pid, signal));
  };
  const undo = () => {
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
  };
  process.once('SIGTERM', onSignal);
  process.once('SIGINT', onSignal);
  return undo;
}
