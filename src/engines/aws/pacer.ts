import { setTimeout as delay } from 'node:timers/promises';

/** Limits the requests per second. */
interface Pacer {
  /** Resolves when the next request may be sent. */
  next(): Promise<void>;
  /** The number of requests so far. */
  readonly requests: number;
}

interface Sending {
  send(command: never): unknown;
}

/** After a pause, this many milliseconds' worth of requests may be sent at once. */
const burstMs = 250;

export function pacer(requestsPerSecond: number, now = () => performance.now()): Pacer {
  const gapMs = 1_000 / requestsPerSecond;
  let nextAt = 0;
  let requests = 0;
  return {
    async next() {
      requests++;
      const at = now();
      nextAt = Math.max(nextAt + gapMs, at - burstMs);
      if (nextAt > at) await delay(nextAt - at);
    },
    get requests() {
      return requests;
    },
  };
}

/** The client, with each of its requests paced. */
export function paced<C extends Sending>(
  client: C,
  { next }: Pick<Pacer, 'next'>,
): Pick<C, 'send'> {
  const send = async (command: never): Promise<unknown> => {
    await next();
    return client.send(command);
  };
  return { send };
}
