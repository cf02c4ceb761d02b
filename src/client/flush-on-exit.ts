import { timerMs } from './checks.ts';
import type { Client } from './client.ts';
import { reportAll, textOf, writeError } from './losses.ts';

const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** Closes the registered clients. All of them close before the process ends. */
const closings = new Set<() => Promise<void>>();

/**
 * Closes the client on SIGTERM, SIGINT or SIGHUP, and then ends the process with that signal. Returns
 * a function that removes this again. It is not needed for a process that ends because it has
 * nothing left to do: such a process stays until the buffer is sent. `process.exit` does not wait:
 * call `close` before it. An error of `close` goes to `onError`, whose promise is not awaited, or to
 * stderr.
 * @throws RangeError for an invalid `timeoutMs`.
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
    for (const signal of signals) process.on(signal, onSignal);
  }
  closings.add(close);
  return () => {
    if (closings.delete(close) && closings.size === 0) stopListening();
  };
}

/** A second signal ends the process at once, except SIGHUP, which a terminal may send twice. */
function onSignal(signal: NodeJS.Signals): void {
  stopListening();
  process.on('SIGHUP', ignore);
  const closed = [...closings].map((close) => close().catch(failed));
  closings.clear();
  void Promise.all(closed).finally(() => {
    reportAll();
    process.off('SIGHUP', ignore);
    process.kill(process.pid, signal);
  });
}

function failed(error: unknown): void {
  writeError(`onError has failed: ${textOf(error)}`);
}

function ignore(): void {
  // The process is ending already.
}

function stopListening(): void {
  for (const signal of signals) process.off(signal, onSignal);
}
