import { createClient, type Client, type PostOutcome } from '../client/index.ts';

/** Begin no new batch once `stopping` is aborted; leave those under way once `leaving` is. */
export interface Interruption {
  readonly stopping: AbortSignal;
  readonly leaving: AbortSignal;
  /** Whether it was the user who asked, with Ctrl-C. */
  readonly isByUser: () => boolean;
  readonly stop: () => void;
  readonly dispose: () => void;
}

/** Of a command: whoever types it wants to be told soon that nobody listens. */
export function commandClient({
  url,
  token,
}: {
  readonly url: string;
  readonly token?: string | undefined;
}): Client {
  return createClient({ url, token, retry: { firstContactMsMax: 3_000 } });
}

/** Ctrl-C stops, and gives the requests under way `graceMs` to end; a second one leaves them. */
export function watchInterrupt(graceMs = 10_000): Interruption {
  const stopping = new AbortController();
  const leaving = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const onSignal = () => {
    if (timer !== undefined) leaving.abort();
    stopping.abort();
    timer ??= setTimeout(() => leaving.abort(), graceMs);
  };
  process.on('SIGINT', onSignal);
  return {
    stopping: stopping.signal,
    leaving: leaving.signal,
    isByUser: () => timer !== undefined,
    stop: () => stopping.abort(),
    dispose: () => {
      clearTimeout(timer);
      process.off('SIGINT', onSignal);
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
  const takeTurns = async () => {
    while (!stopping.aborted) {
      const next = await source.next();
      if (next.done === true) return;
      await work(next.value);
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: concurrency }, takeTurns));
  await source.return();
  const failed = ends.find((end) => end.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** What is wrong with a batch that was not accepted in full. */
export function inWords(outcome: PostOutcome): string | undefined {
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
export function isHopeless(outcome: PostOutcome): boolean {
  if (outcome.kind === 'gave_up') return true;
  return (
    outcome.kind === 'refused' &&
    ([401, 403, 404, 405].includes(outcome.status) || outcome.status < 400)
  );
}
