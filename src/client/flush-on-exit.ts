import { timerMs } from './checks.ts';
import type { Client } from './client.ts';
import { tellAll, textOf, writeError } from './losses.ts';

/** What is to be closed at a signal. The first one to be closed must not end the others. */
const closings = new Set<() => Promise<void>>();

/**
 * Closes the client when the process is asked to end (SIGTERM, SIGINT), and then lets it end as that
 * signal ends it. Nothing does this unless it is called; the answer undoes it. A process that has
 * nothing left to do needs it not: it stays until what is buffered is sent. `process.exit` waits for
 * nothing: call `close` before it. An error of `close` goes to `onError`, whose promise nothing waits for, or
 * else to stderr.
 * @throws RangeError for a `timeoutMs` that cannot be waited.
 */
export function flushOnExit(
  client: Client,
  {
    timeoutMs = 10_000,
    onError,
  }: { timeoutMs?: number; onError?: (error: unknown) => unknown } = {},
): () => void {
  const closeMs = timerMs('timeoutMs', timeoutMs);
  const close = async () => {
    try {
      await client.close(closeMs);
    } catch (error) {
      if (onError === undefined) writeError(textOf(error));
      else Promise.resolve(onError(error)).catch(failed);
    }
  };
  if (closings.size === 0) {
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  }
  closings.add(close);
  return () => {
    if (closings.delete(close) && closings.size === 0) stopListening();
  };
}

/** A second signal ends the process at once. */
function onSignal(signal: NodeJS.Signals): void {
  stopListening();
  const closed = [...closings].map((close) => close().catch(failed));
  closings.clear();
  void Promise.all(closed).finally(() => {
    tellAll();
    process.kill(process.pid, signal);
  });
}

function failed(error: unknown): void {
  writeError(`onError has failed: ${textOf(error)}`);
}

function stopListening(): void {
  process.off('SIGTERM', onSignal);
  process.off('SIGINT', onSignal);
}
