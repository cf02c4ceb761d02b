import type { HandlerName } from '../bundle.ts';

interface FunctionSpec {
  description: string;
  /** Lambda gives processor time in proportion: 1769 MB are one processor. */
  memoryMegabytes: number;
  timeoutSeconds: number;
}

/** How long the sweeper leaves a batch to be counted before it looks for what is missing. */
export const sweepAfterSeconds = 900;
export const sweepEveryMinutes = 5;

export const functionSpecs: Record<HandlerName, FunctionSpec> = {
  ingest: {
    description: 'Checks a batch, keeps its raw body, and puts its items on the queue',
    // A body of 4 MiB is checked while a client waits, and is held several times over: as the
    // event, as text, as items.
    memoryMegabytes: 1024,
    // API Gateway gives up after 30 s; before that the function can still say 503 itself.
    timeoutSeconds: 29,
  },
  process: {
    description: 'Counts what is on the queue, each chunk once',
    // It holds one invocation's 6 MB of messages and waits for DynamoDB most of the time.
    memoryMegabytes: 512,
    // The transactions of one invocation fit, also where no two of its messages can share one; six
    // times as long a crashed invocation's messages stay hidden.
    timeoutSeconds: 120,
  },
  query: {
    description: 'Answers everything but POST /ingest',
    // A range of 366 days may be sorted and grouped in memory while a client waits.
    memoryMegabytes: 1024,
    timeoutSeconds: 29,
  },
  sweep: {
    description: 'Finds batches of which something was never counted, and sends it again',
    // After an outage it may hold 64 MiB of raw bodies at once, each several times over; on
    // other days it runs for a second every five minutes, and the memory costs next to nothing.
    memoryMegabytes: 1769,
    // Less than the time to the next sweep.
    timeoutSeconds: 240,
  },
};
