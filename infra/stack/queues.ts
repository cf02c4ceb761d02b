import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';

import { acceptFinding } from './accept-finding.ts';
import { functionSpecs } from './function-specs.ts';
import type { PipelineSettings } from '../settings.ts';

export interface Queues {
  queue: Queue;
  deadLetterQueue: Queue;
  /** Receives sweeps that failed after all retries, and scheduled events that reached no function. */
  sweepFailures: Queue;
}

/**
 * How often a message is received before SQS moves it to the dead-letter queue. The delay between
 * deliveries starts at 15 seconds and doubles up to 12 minutes, so the twelfth delivery is 76 minutes
 * after the first, however fast each fails.
 */
export const receivesMax = 12;

const common = {
  encryption: QueueEncryption.SQS_MANAGED,
  enforceSSL: true,
  retentionPeriod: Duration.days(14),
};

export function addQueues(scope: Construct, settings: PipelineSettings): Queues {
  // Until they are counted, small bodies are only in the queue, so it is retained if the bucket is. The
  // setting may be a token.
  const isRetained = settings.smallBodies !== 'object' && settings.removalPolicy === 'retain';
  const kept = { ...common, ...(isRetained && { removalPolicy: RemovalPolicy.RETAIN }) };
  const deadLetterQueue = new Queue(scope, 'DeadLetterQueue', kept);
  const queue = new Queue(scope, 'Queue', {
    ...kept,
    // AWS recommends six times the function's timeout plus the batching window, so that a message does
    // not become visible again while it is being counted.
    visibilityTimeout: Duration.seconds(
      6 * functionSpecs.process.timeoutSeconds + settings.batchWindowSeconds,
    ),
    deadLetterQueue: { queue: deadLetterQueue, maxReceiveCount: receivesMax },
  });
  const sweepFailures = new Queue(scope, 'SweepFailures', common);
  acceptFinding(
    sweepFailures,
    'AwsSolutions-SQS3',
    'It is itself a queue for failures: the failure destination of the sweep function and of its schedule, which the rule does not check.',
  );
  return { queue, deadLetterQueue, sweepFailures };
}
