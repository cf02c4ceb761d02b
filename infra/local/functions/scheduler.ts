import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';

import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';

import { clientSettings } from '../client-settings.ts';
import { invocationFailure, type InvocationResult } from './lambda-runtime.ts';
import type { ScheduleDescription } from '../template/stack-description.ts';

/** How long Lambda waits before it retries a failed asynchronous invocation. */
const retryDelaysMs: readonly number[] = [60_000, 120_000];

interface SchedulerOptions {
  readonly schedule: ScheduleDescription;
  readonly functionArn: string;
  readonly endpoint: string;
  readonly region: string;
  readonly accountId: string;
  readonly invoke: (payload: string) => Promise<InvocationResult>;
  readonly retryDelaysMs?: readonly number[] | undefined;
  readonly onTrouble?: ((text: string) => void) | undefined;
}

export interface Scheduler {
  /** Invokes now, with the same retries, and resolves with the last result. */
  run(): Promise<InvocationResult>;
  stop(): Promise<void>;
}

/** Invokes a function at the rate of its schedule, the first time after one period. */
export function startScheduler(options: SchedulerOptions): Scheduler {
  const { schedule, endpoint, region, onTrouble } = options;
  const client = new SQSClient(clientSettings(endpoint, region, 'eventinvoke'));
  const stopping = new AbortController();
  const { signal } = stopping;
  const underWay = new Set<Promise<unknown>>();

  async function run(): Promise<InvocationResult> {
    const payload = JSON.stringify(scheduledEvent(options));
    const delaysMs = options.retryDelaysMs ?? retryDelaysMs;
    let result = await options.invoke(payload);
    let attempts = 1;
    while (result.kind !== 'succeeded' && attempts <= schedule.retriesMax && !signal.aborted) {
      onTrouble?.(`the ${schedule.role} function failed: ${invocationFailure(result)}`);
      await delay(delaysMs[attempts - 1] ?? delaysMs.at(-1) ?? 0, undefined, { signal });
      result = await options.invoke(payload);
      attempts++;
    }
    if (result.kind !== 'succeeded') await giveUp(payload, result, attempts);
    return result;
  }

  async function giveUp(payload: string, result: InvocationResult, attempts: number) {
    const why = invocationFailure(result);
    onTrouble?.(`the ${schedule.role} function failed ${attempts} times: ${why}`);
    if (schedule.failureQueueUrl === undefined) return;
    const MessageBody = JSON.stringify(failureRecord(options, payload, result, attempts));
    await client.send(new SendMessageCommand({ QueueUrl: schedule.failureQueueUrl, MessageBody }));
  }

  const timer = setInterval(() => {
    const running = run().catch((error: unknown) => {
      if (!signal.aborted) onTrouble?.(`the schedule could not be kept: ${String(error)}`);
    });
    underWay.add(running);
    void running.finally(() => underWay.delete(running));
  }, schedule.everyMs);
  return {
    run,
    async stop() {
      clearInterval(timer);
      stopping.abort();
      await Promise.all(underWay);
      client.destroy();
    },
  };
}

/** The event that EventBridge sends for a rule with a rate. */
function scheduledEvent({ schedule, region, accountId }: SchedulerOptions): object {
  return {
    version: '0',
    id: randomUUID(),
    'detail-type': 'Scheduled Event',
    source: 'aws.events',
    account: accountId,
    time: `${new Date().toISOString().slice(0, 19)}Z`,
    region,
    resources: [schedule.ruleArn],
    detail: {},
  };
}

/** The record that Lambda sends to the failure destination of an asynchronous invocation. */
function failureRecord(
  { functionArn }: SchedulerOptions,
  payload: string,
  result: InvocationResult,
  attempts: number,
): object {
  const response =
    result.kind === 'failed'
      ? { errorType: result.errorType, errorMessage: result.errorMessage }
      : null;
  return {
    version: '1.0',
    timestamp: new Date().toISOString(),
    requestContext: {
      requestId: randomUUID(),
      functionArn: `${functionArn}:$LATEST`,
      condition: 'RetriesExhausted',
      approximateInvokeCount: attempts,
    },
    requestPayload: JSON.parse(payload) as unknown,
    responseContext: { statusCode: 200, executedVersion: '$LATEST', functionError: 'Unhandled' },
    responsePayload: response,
  };
}
