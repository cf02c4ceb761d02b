import { constants } from 'node:os';

import { createClient, type Client, type PostOutcome } from '../../client/index.ts';
import { onStopSignal, type StopSignal } from './stop-signals.ts';
import { visible } from './terminal-text.ts';

/** Begin no new batch once `stopping` is aborted; leave those under way once `leaving` is. */
export interface Interruption {
  readonly stopping: AbortSignal;
  readonly aborting: AbortSignal;
  /** Whether it was the user who asked, with Ctrl-C or another signal. */
  readonly isByUser: () => boolean;
  /** Of a process that a signal has stopped. */
  readonly exitCode: () => number;
  readonly stop: () => void;
  readonly dispose: () => void;
}

/** Of a command: whoever types it wants to be told soon that nobody listens. */
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

/** A line on stderr, in place of a progress bar that is drawn again after it. */
export function printWarning(text: string): void {
  const { stderr } = process;
  const clear = stderr.isTTY ? '\r\u001b[K' : '';
  stderr.write(`${clear}device-pipeline: ${visible(text)}\n`);
}

/**
 * Ctrl-C, SIGTERM and SIGHUP stop, and give the requests under way `graceMs` to end. A second one
 * leaves them, unless it is SIGHUP.
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
 * Does the work for each value of the source, at most `concurrency` at a time, and takes no more
 * values once `stopping` is aborted. What has begun is always waited for, also where the source
 * fails.
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

/** What is wrong with a batch that was not accepted in full. */
export function describeOutcome(outcome: PostOutcome): string | undefined {
  switch (outcome.kind) {
    case 'accepted':
      return outcome.rejected === 0
        ? undefined
        : `${outcome.rejected} items of a batch were refused`;
    case 'refused':
      return `the server refused a batch: ${outcome.status} ${outcome.code}: ${outcome.detail}`;
    case 'gave_up':
      return outcome.reason;
  }
}

/** Whether the next batch would fare no better: nobody is there, or nobody who takes ours. */
export function affectsAllBatches(outcome: PostOutcome): boolean {
  if (outcome.kind === 'gave_up') return true;
  return (
    outcome.kind === 'refused' &&
    ([401, 403, 404, 405].includes(outcome.status) || outcome.status < 400)
  );
}
