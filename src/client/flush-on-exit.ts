import { timerMs } from './checks.ts';
import type { Client } from './client.ts';
import { reportAll, textOf, writeError } from './losses.ts';

const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** What is to be closed at a signal. The first one to be closed must not end the others. */
const closings = new Set<() => Promise<void>>();

/**
 * Closes the client when the process is asked to end (SIGTERM, SIGINT, SIGHUP), and then lets it end
 * as that signal ends it. Nothing does this unless it is called; the answer undoes it. A process that has
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
    for (const signal of signals) process.on(signal, onSignal);
  }
  closings.add(close);
  return () => {
    if (closings.delete(close) && closings.size === 0) stopListening();
  };
}

/** A second signal ends the process at once, unless it is SIGHUP: a terminal may send it twice. */
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
