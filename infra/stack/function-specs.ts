/** The handlers; each is one Lambda, one file in src/entry/lambda and one directory in dist. */
export const handlerNames = ['ingest', 'process', 'query', 'sweep'] as const;
export type HandlerName = (typeof handlerNames)[number];

interface FunctionSpec {
  description: string;
  /** In MB. CPU time is proportional: 1769 MB give one vCPU. */
  memoryMegabytes: number;
  timeoutSeconds: number;
}

/** The age at which the sweeper checks a batch for items that are not counted. */
export const sweepAfterSeconds = 900;
export const sweepEveryMinutes = 5;

export const functionSpecs: Record<HandlerName, FunctionSpec> = {
  ingest: {
    description: 'Validates a batch, stores its raw body and queues its items',
    // A client waits while a body of up to 4 MiB is validated. The function holds it several times:
    // as event, text and items.
    memoryMegabytes: 1024,
    // API Gateway times out after 30 s; before that, the function can still answer 503.
    timeoutSeconds: 29,
  },
  process: {
    description: 'Counts the chunks on the queue, each exactly once',
    // It holds up to 6 MB of messages and mostly waits for DynamoDB.
    memoryMegabytes: 512,
    // Enough for one transaction per message. After a crash, messages stay invisible six times as long.
    timeoutSeconds: 120,
  },
  query: {
    description: 'Answers all requests except POST /ingest',
    // A client waits while up to 366 days are sorted and grouped in memory.
    memoryMegabytes: 1024,
    timeoutSeconds: 29,
  },
  sweep: {
    description: 'Finds batches with uncounted chunks and queues these again',
    // After an outage it may hold 64 MiB of raw bodies, each several times. Usually it runs for a
    // second every five minutes, so the memory costs very little.
    memoryMegabytes: 1769,
    // Shorter than the interval between sweeps.
    timeoutSeconds: 240,
  },
};
