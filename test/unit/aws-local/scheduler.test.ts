import { CreateQueueCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { describe, expect, it, onTestFinished } from 'vitest';

import { clientSettings } from '../../../infra/local/client-settings.ts';
import { startFauxqs } from '../../../infra/local/emulators/emulators.ts';
import type { InvocationResult } from '../../../infra/local/functions/lambda-runtime.ts';
import { startScheduler } from '../../../infra/local/functions/scheduler.ts';
import { eventually } from './stand-ins.ts';

const failed: InvocationResult = { kind: 'failed', errorType: 'E', errorMessage: 'no' };

async function schedule(everyMs: number, results: InvocationResult[]) {
  const fauxqs = await startFauxqs();
  const client = new SQSClient(clientSettings(fauxqs.url, 'us-east-1', 'test'));
  await client.send(new CreateQueueCommand({ QueueName: 'failures' }));
  const failureQueueUrl = `${fauxqs.url}/000000000000/failures`;
  const payloads: string[] = [];
  const scheduler = startScheduler({
    schedule: {
      ...{ role: 'sweep', ruleArn: 'arn:rule', everyMs, retriesMax: 1, failureQueueUrl },
    },
    ...{ functionArn: 'arn:sweep', endpoint: fauxqs.url, region: 'us-east-1', accountId: '0' },
    retryDelaysMs: [10],
    invoke(payload) {
      payloads.push(payload);
      return Promise.resolve(results.shift() ?? { kind: 'succeeded', payload: 'null' });
    },
  });
  onTestFinished(async () => {
    await scheduler.stop();
    client.destroy();
    await fauxqs.stop();
  });
  const failures = async () => {
    const { Messages = [] } = await client.send(
      new ReceiveMessageCommand({ QueueUrl: failureQueueUrl }),
    );
    return Messages.map(({ Body = '' }) => JSON.parse(Body) as unknown);
  };
  return { scheduler, payloads, failures };
}

describe('a schedule', () => {
  it("invokes at its rate, with EventBridge's event", async () => {
    const { payloads } = await schedule(40, []);
    await eventually(() => payloads.length >= 3);
    expect(JSON.parse(payloads[0] ?? '')).toMatchObject({
      ...{ version: '0', 'detail-type': 'Scheduled Event', source: 'aws.events' },
      ...{ resources: ['arn:rule'], detail: {}, region: 'us-east-1' },
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/) as string,
    });
  });

  it('repeats an invocation that failed', async () => {
    const { scheduler, payloads, failures } = await schedule(1e6, [failed]);
    expect(await scheduler.run()).toMatchObject({ kind: 'succeeded' });
    expect(payloads).toHaveLength(2);
    expect(payloads[1]).toBe(payloads[0]);
    expect(await failures()).toEqual([]);
  });

  it('sends to the failure destination what fails as often as it may', async () => {
    const { scheduler, payloads, failures } = await schedule(1e6, [failed, failed, failed]);
    expect(await scheduler.run()).toEqual(failed);
    expect(payloads).toHaveLength(2);
    expect(await failures()).toEqual([
      expect.objectContaining({
        requestContext: expect.objectContaining({
          ...{ condition: 'RetriesExhausted', approximateInvokeCount: 2 },
        }) as object,
        requestPayload: JSON.parse(payloads[0] ?? '') as object,
        responsePayload: { errorType: 'E', errorMessage: 'no' },
      }),
    ]);
  });
});
