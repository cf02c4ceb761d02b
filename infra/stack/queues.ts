import { Duration } from 'aws-cdk-lib';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';

import { acceptFinding } from './accept-finding.ts';
import { functionSpecs } from './function-specs.ts';
import type { Settings } from '../settings.ts';

export interface Queues {
  queue: Queue;
  deadLetterQueue: Queue;
  /** What became of sweeps that failed for good, and of schedules that reached no function. */
  sweepFailures: Queue;
}

/**
 * How often a message is received before it goes to the dead-letter queue. It is delivered again
 * after 15 seconds, then after twice as long each time, and at last after 12 minutes: the twelfth time
 * comes after 76 minutes, however fast it fails.
 */
export const receivesMax = 12;

const common = {
  encryption: QueueEncryption.SQS_MANAGED,
  enforceSSL: true,
  retentionPeriod: Duration.days(14),
};

export function addQueues(scope: Construct, settings: Settings): Queues {
  const deadLetterQueue = new Queue(scope, 'DeadLetterQueue', common);
  const queue = new Queue(scope, 'Queue', {
    ...common,
    // AWS asks for six times the function's timeout and the batching window: a message that comes
    // back while it is still being counted would cost a second try.
    visibilityTimeout: Duration.seconds(
      6 * functionSpecs.process.timeoutSeconds + settings.batchWindowSeconds,
    ),
    deadLetterQueue: { queue: deadLetterQueue, maxReceiveCount: receivesMax },
  });
  const sweepFailures = new Queue(scope, 'SweepFailures', common);
  acceptFinding(
    sweepFailures,
    'AwsSolutions-SQS3',
    'It is itself where failures end up: the failure destination of the sweep function and of its schedule, which the rule does not look at.',
  );
  return { queue, deadLetterQueue, sweepFailures };
}
