import { constants } from 'node:os';

import { createClient, type Client, type PostOutcome } from '../../client/index.ts';
import { onStopSignal, type StopSignal } from './stop-signals.ts';
import { visible } from './terminal-text.ts';

/** `stopping` aborts: start no new batch. `aborting` aborts: give up the batches in flight. */
export interface Interruption {
  readonly stopping: AbortSignal;
  readonly aborting: AbortSignal;
  /** Whether a signal caused it, such as Ctrl-C, and not a call of `stop`. */
  readonly isByUser: () => boolean;
  /** The conventional exit code after the signal that was received. */
  readonly exitCode: () => number;
  readonly stop: () => void;
  readonly dispose: () => void;
}

/** A client for commands: it fails within seconds if no server listens. */
export function commandClient({
  url,
  token,
  compress,
}: {
  readonly url: string;
  readonly token?: string | undefined;
  readonly compress?: boolean | undefined;
}): Client {
  return createClient({
    url,
    token,
    compress,
    complain: printWarning,
    retry: { firstContactMsMax: 3_000 },
  });
}

/** Writes a line to stderr. It replaces a progress bar, which is drawn again below. */
export function printWarning(text: string): void {
  const { stderr } = process;
  const clear = stderr.isTTY ? '\r\u001b[K' : '';
  stderr.write(`${clear}device-pipeline: ${visible(text)}\n`);
}

/**
 * Handles Ctrl-C, SIGTERM and SIGHUP: the first signal stops and gives requests in flight `graceMs` to
 * finish; a second one, unless it is SIGHUP, aborts them.
 */
export function watchInterrupt(graceMs = 10_000): Interruption {
  const stopping = new AbortController();
  const leaving = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let exitCode = 0;
  const onSignal = (signal: StopSignal) => {
    if (timer !== undefined && signal !== 'SIGHUP') leaving.abort();
    if (timer === undefined) exitCode = 128 + constants.signals[signal];
    stopping.abort();
    timer ??= setTimeout(() => leaving.abort(), graceMs);
  };
  const ignoreSignals = onStopSignal(onSignal);
  return {
    stopping: stopping.signal,
    aborting: leaving.signal,
    isByUser: () => timer !== undefined,
    exitCode: () => exitCode,
    stop: () => stopping.abort(),
    dispose: () => {
      clearTimeout(timer);
      ignoreSignals();
    },
  };
}

/**
 * Calls `work` for each value of the source, with at most `concurrency` calls at a time, and reads no
 * more values once `stopping` is aborted. Waits for all calls, also if the source fails.
 */
export async function forEachConcurrently<Value>(
  source: AsyncGenerator<Value, void>,
  concurrency: number,
  stopping: AbortSignal,
  work: (value: Value) => Promise<void>,
): Promise<void> {
  const runWorker = async () => {
    while (!stopping.aborted) {
      const next = await source.next();
      if (next.done === true) return;
      await work(next.value);
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: concurrency }, runWorker));
  await source.return();
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** Says what is wrong with a batch; undefined if it was accepted in full. */
export function describeOutcome(outcome: PostOutcome): string | undefined {
  switch (outcome.kind) {
    case 'accepted':
      return outcome.rejected === 0
        ? undefined
        : `${outcome.rejected} items of a batch were rejected`;
    case 'refused':
      return `the server refused a batch: ${outcome.status} ${outcome.code}: ${outcome.detail}`;
    case 'gave_up':
      return outcome.reason;
  }
}

/** Whether every other batch would fail, too: the server is unreachable, or refuses this client. */
export function affectsAllBatches(outcome: PostOutcome): boolean {
  if (outcome.kind === 'gave_up') return true;
  return (
    outcome.kind === 'refused' &&
    ([401, 403, 404, 405].includes(outcome.status) || outcome.status < 400)
  );
}
