import { setTimeout as delay } from 'node:timers/promises';

/** Lets requests through, so many a second at the most. */
export interface Pacer {
  /** Resolves when the next request may be sent. */
  turn(): Promise<void>;
  /** How many were let through. */
  readonly requests: number;
}

interface Sending {
  send(command: never): unknown;
}

/** So much of a pause may be made up for at once. */
const burstMs = 250;

export function pacer(requestsPerSecond: number, now = () => performance.now()): Pacer {
  const gapMs = 1_000 / requestsPerSecond;
  let nextAt = 0;
  let requests = 0;
  return {
    async turn() {
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

/** The client, with each of its requests at its turn. */
export function paced<C extends Sending>(
  client: C,
  { turn }: Pick<Pacer, 'turn'>,
): Pick<C, 'send'> {
  const send = async (command: never): Promise<unknown> => {
    await turn();
    return client.send(command);
  };
  return { send };
}
