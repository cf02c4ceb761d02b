import { Duration } from 'aws-cdk-lib';
import { Rule, Schedule } from 'aws-cdk-lib/aws-events';
import { LambdaFunction } from 'aws-cdk-lib/aws-events-targets';
import { EventInvokeConfig, EventSourceMapping } from 'aws-cdk-lib/aws-lambda';
import type { Construct } from 'constructs';

import { sweepEveryMinutes } from './function-specs.ts';
import type { Functions } from './functions.ts';
import type { Queues } from './queues.ts';
import type { PipelineSettings } from '../settings.ts';

/** The triggers of the functions that do not serve requests: the queue and the schedule. */
export function addTriggers(
  scope: Construct,
  settings: PipelineSettings,
  functions: Functions,
  queues: Queues,
): void {
  // SqsEventSource would grant the function more than it needs.
  new EventSourceMapping(scope, 'ProcessSource', {
    target: functions.process.lambda,
    eventSourceArn: queues.queue.queueArn,
    batchSize: settings.batchSize,
    maxBatchingWindow: Duration.seconds(settings.batchWindowSeconds),
    maxConcurrency: settings.processConcurrencyMax,
    reportBatchItemFailures: true,
  });
  const { lambda } = functions.sweep;
  new EventInvokeConfig(scope, 'SweepInvocations', {
    function: lambda,
    retryAttempts: 1,
    maxEventAge: Duration.minutes(2 * sweepEveryMinutes),
    // SqsDestination would grant more than sending.
    onFailure: { bind: () => ({ destination: queues.sweepFailures.queueArn }) },
  });
  new Rule(scope, 'SweepSchedule', {
    description: 'Starts the sweep function',
    schedule: Schedule.rate(Duration.minutes(sweepEveryMinutes)),
    targets: [
      new LambdaFunction(lambda, {
        retryAttempts: 2,
        maxEventAge: Duration.minutes(sweepEveryMinutes),
        deadLetterQueue: queues.sweepFailures,
      }),
    ],
  });
}
