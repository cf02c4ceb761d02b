import { createHash } from 'node:crypto';

import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SQSClient,
  type MessageAttributeValue,
} from '@aws-sdk/client-sqs';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { clientSettings } from '../../../infra/local/client-settings.ts';
import { startFauxqs } from '../../../infra/local/emulators/emulators.ts';
import type { InvocationResult } from '../../../infra/local/functions/lambda-runtime.ts';
import { recordsDone, type SqsRecord } from '../../../infra/local/functions/sqs-event.ts';
import { SqsPoller, type SqsPollerOptions } from '../../../infra/local/functions/sqs-poller.ts';
import type { EventSourceDescription } from '../../../infra/local/template/stack-description.ts';
import { startWire, type Fault } from '../../../infra/local/emulators/wire.ts';
import type { AwsCall } from '../../../infra/local/emulators/wire-call.ts';
import { eventually } from './stand-ins.ts';

let endpoint: string;
let client: SQSClient;
let faultOf: (call: AwsCall) => Fault | undefined;
let calls: string[];
let eventSource: EventSourceDescription;

const queueArn = 'arn:aws:sqs:us-east-1:000000000000:queue';
const urlOf = (name: string) => `${endpoint}/000000000000/${name}`;

beforeEach(async () => {
  faultOf = () => undefined;
  calls = [];
  const fauxqs = await startFauxqs();
  const wire = await startWire({
    ...{ dynamoDbUrl: fauxqs.url, fauxqsUrl: fauxqs.url },
    fault(call) {
      calls.push(call.operation);
      return faultOf(call);
    },
  });
  endpoint = wire.url;
  client = new SQSClient(clientSettings(endpoint, 'us-east-1', 'test'));
  await client.send(new CreateQueueCommand({ QueueName: 'dead' }));
  await client.send(
    new CreateQueueCommand({
      QueueName: 'queue',
      Attributes: {
        // No message is redelivered on its own during a test: see `showAgain`.
        VisibilityTimeout: '600',
        RedrivePolicy: JSON.stringify({
          deadLetterTargetArn: 'arn:aws:sqs:us-east-1:000000000000:dead',
          maxReceiveCount: 2,
        }),
      },
    }),
  );
  eventSource = {
    ...{ role: 'process', queueUrl: urlOf('queue'), queueArn, batchSize: 100, windowMs: 0 },
    ...{ concurrencyMax: 2, reportsItemFailures: true },
  };
  return async () => {
    client.destroy();
    await wire.stop();
    await fauxqs.stop();
  };
});

/** Has messages that were received delivered again, as their visibility timeout would at its end. */
async function showAgain(records: readonly Pick<SqsRecord, 'receiptHandle'>[]): Promise<void> {
  for (const { receiptHandle: ReceiptHandle } of records) {
    const request = { QueueUrl: urlOf('queue'), ReceiptHandle, VisibilityTimeout: 0 };
    await client.send(new ChangeMessageVisibilityCommand(request));
  }
}

async function sendMessages(
  bodies: readonly string[],
  MessageAttributes?: Record<string, MessageAttributeValue>,
): Promise<void> {
  for (let index = 0; index < bodies.length; index += 10) {
    const Entries = bodies.slice(index, index + 10).map((MessageBody, entry) => ({
      ...{ Id: String(entry), MessageBody },
      ...(MessageAttributes !== undefined && { MessageAttributes }),
    }));
    await client.send(new SendMessageBatchCommand({ QueueUrl: urlOf('queue'), Entries }));
  }
}

const numbered = (count: number) => Array.from({ length: count }, (_, index) => String(index));

/** Polls with a function that does this; returns the batches that it got. */
function poll(
  reply: (records: SqsRecord[]) => unknown,
  options: Partial<SqsPollerOptions> = {},
): { batches: SqsRecord[][]; stop: () => Promise<void> } {
  const batches: SqsRecord[][] = [];
  const poller = new SqsPoller({
    ...{ eventSource, endpoint, region: 'us-east-1' },
    async invoke(payload): Promise<InvocationResult> {
      const { Records } = JSON.parse(payload) as { Records: SqsRecord[] };
      batches.push(Records);
      try {
        const result = await reply(Records);
        return { kind: 'succeeded', payload: JSON.stringify(result ?? null) };
      } catch (error) {
        return { kind: 'failed', errorType: 'Error', errorMessage: String(error) };
      }
    },
    ...options,
  });
  const stop = () => poller.stop();
  onTestFinished(stop);
  return { batches, stop };
}

const bodiesOf = (batches: SqsRecord[][]) => batches.flat().map(({ body }) => body);

async function inQueue(name: string): Promise<number> {
  const { Attributes = {} } = await client.send(
    new GetQueueAttributesCommand({ QueueUrl: urlOf(name), AttributeNames: ['All'] }),
  );
  return (
    Number(Attributes['ApproximateNumberOfMessages']) +
    Number(Attributes['ApproximateNumberOfMessagesNotVisible'])
  );
}

describe('the event source', () => {
  it('hands over records with all that Lambda gives them', async () => {
    await sendMessages(['the body'], {
      kind: { DataType: 'String', StringValue: 'a text' },
      bytes: { DataType: 'Binary', BinaryValue: Buffer.from('bytes') },
    });
    const { batches } = poll(() => undefined);
    await eventually(() => batches.length === 1);
    const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/) as string;
    const digits = expect.stringMatching(/^\d{13}$/) as string;
    expect(batches[0]).toEqual([
      {
        ...{ messageId: uuid, receiptHandle: uuid, body: 'the body' },
        attributes: {
          ...{ ApproximateReceiveCount: '1', SentTimestamp: digits },
          ...{ ApproximateFirstReceiveTimestamp: digits, SenderId: '000000000000' },
        },
        messageAttributes: {
          kind: {
            ...{ stringValue: 'a text', stringListValues: [], binaryListValues: [] },
            dataType: 'String',
          },
          bytes: {
            ...{ binaryValue: 'Ynl0ZXM=', stringListValues: [], binaryListValues: [] },
            dataType: 'Binary',
          },
        },
        md5OfBody: createHash('md5').update('the body').digest('hex'),
        ...{ eventSource: 'aws:sqs', eventSourceARN: queueArn, awsRegion: 'us-east-1' },
      },
    ]);
  });

  it('gathers up to the batch size, and deletes what is done ten at a time', async () => {
    await sendMessages(numbered(250));
    calls.splice(0);
    const { batches } = poll(() => ({ batchItemFailures: [] }), { pollers: 2 });
    await eventually(async () => (await inQueue('queue')) === 0);
    expect(new Set(bodiesOf(batches)).size).toBe(250);
    expect(batches.flat()).toHaveLength(250);
    expect(Math.max(...batches.map(({ length }) => length))).toBe(100);
    expect(calls.filter((name) => name === 'DeleteMessageBatch')).toHaveLength(25);
  });

  it('has five poll side by side, however few may be invoked at a time', async () => {
    calls.splice(0);
    poll(() => undefined);
    const polls = () => calls.filter((name) => name === 'ReceiveMessage').length;
    await eventually(() => polls() === 5);
  });

  it('waits for more as long as the window is open', async () => {
    eventSource = { ...eventSource, windowMs: 1_500, concurrencyMax: 1 };
    const { batches } = poll(() => undefined, { pollers: 1 });
    await sendMessages(['first']);
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(batches).toEqual([]);
    await sendMessages(['second']);
    await eventually(() => batches.length > 0);
    expect(bodiesOf(batches)).toEqual(['first', 'second']);
  });

  it('invokes with no more than 6 MB', async () => {
    await sendMessages(numbered(10));
    for (let sent = 0; sent < 8; sent++) await sendMessages(['x'.repeat(1_000_000)]);
    eventSource = { ...eventSource, concurrencyMax: 1 };
    const { batches } = poll(() => undefined);
    await eventually(() => batches.flat().length === 18);
    for (const batch of batches) {
      expect(JSON.stringify({ Records: batch }).length).toBeLessThanOrEqual(6 * 1024 * 1024);
    }
  });

  it('invokes as often at a time as its concurrency says, and no more', async () => {
    eventSource = { ...eventSource, batchSize: 1, concurrencyMax: 3 };
    await sendMessages(numbered(12));
    let running = 0;
    let most = 0;
    const { batches } = poll(async () => {
      most = Math.max(most, ++running);
      await eventually(() => most >= 3);
      // Time for a fourth, which must not come.
      await new Promise((resolve) => setTimeout(resolve, 50));
      running--;
    });
    await eventually(() => batches.length === 12);
    expect(most).toBe(3);
  });
});

describe('messages that a function has not processed are delivered again', () => {
  it('the items that it reports, and no others', async () => {
    await sendMessages(['good', 'bad']);
    const failing = new Set(['bad']);
    const { batches } = poll(async (records) => {
      const failed = records.filter(({ body }) => failing.delete(body));
      await showAgain(failed);
      return { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) };
    });
    await eventually(() => batches.flat().length === 3);
    await eventually(async () => (await inQueue('queue')) === 0);
    expect(bodiesOf(batches).sort()).toEqual(['bad', 'bad', 'good']);
    expect(batches.flat().at(-1)?.attributes['ApproximateReceiveCount']).toBe('2');
    expect(await inQueue('dead')).toBe(0);
  });

  it('everything where it fails, and goes to the dead-letter queue in the end', async () => {
    await sendMessages(['poison']);
    const { batches } = poll(async (records) => {
      await showAgain(records);
      throw new Error('no');
    });
    await eventually(async () => (await inQueue('dead')) === 1);
    expect(bodiesOf(batches)).toEqual(['poison', 'poison']);
    const { Messages } = await client.send(
      new ReceiveMessageCommand({ QueueUrl: urlOf('dead'), WaitTimeSeconds: 1 }),
    );
    expect(Messages?.[0]?.Body).toBe('poison');
  });

  it('a message that could not be deleted', async () => {
    let refused = 0;
    faultOf = ({ operation }) =>
      operation === 'DeleteMessageBatch' && refused++ === 0
        ? { kind: 'refuse', status: 403, code: 'AccessDenied' }
        : undefined;
    await sendMessages(['again']);
    const { batches } = poll((records) => (batches.length === 1 ? showAgain(records) : undefined));
    await eventually(() => batches.length === 2);
    await eventually(async () => (await inQueue('queue')) === 0);
    expect(bodiesOf(batches)).toEqual(['again', 'again']);
  });

  const records = ['a', 'b'].map((messageId) => ({ messageId }) as SqsRecord);
  it.each([
    ['no reply', null, ['a', 'b']],
    ['no list', {}, ['a', 'b']],
    ['null for a list', { batchItemFailures: null }, ['a', 'b']],
    ['an empty list', { batchItemFailures: [] }, ['a', 'b']],
    ['one of them', { batchItemFailures: [{ itemIdentifier: 'b' }] }, ['a']],
    ['an unknown id', { batchItemFailures: [{ itemIdentifier: 'c' }] }, []],
    ['an empty id', { batchItemFailures: [{ itemIdentifier: '' }] }, []],
    ['no id', { batchItemFailures: [{ id: 'a' }] }, []],
    ['something else', { batchItemFailures: 'b' }, []],
  ])('%s: %o leaves done %o', (_, reply, done) => {
    const left = recordsDone(records, JSON.stringify(reply), true);
    expect(left.map(({ messageId }) => messageId)).toEqual(done);
  });

  it('nothing, if failures of items are not requested', () => {
    const reply = '{"batchItemFailures":[{"itemIdentifier":"a"}]}';
    expect(recordsDone(records, reply, false)).toEqual(records);
  });
});

describe('requested disorder', () => {
  it('delivers messages twice: in the same batch, and in others', async () => {
    eventSource = { ...eventSource, batchSize: 20 };
    await sendMessages(numbered(60));
    const disorder = { seed: 7, duplicate: 0.5, laterMsMax: 300 };
    const { batches } = poll(() => undefined, { disorder });
    await eventually(async () => (await inQueue('queue')) === 0);
    const twiceIn = (batch: SqsRecord[]) =>
      batch.length - new Set(batch.map(({ messageId }) => messageId)).size;
    const inSame = () => batches.reduce((sum, batch) => sum + twiceIn(batch), 0);
    await eventually(() => batches.flat().length - 60 > inSame() && inSame() > 5);
    expect(new Set(bodiesOf(batches)).size).toBe(60);
  });

  it('shuffles batches', async () => {
    await sendMessages(numbered(50));
    const { batches } = poll(() => undefined, { disorder: { reorder: 1 } });
    await eventually(() => batches.flat().length === 50);
    expect(bodiesOf(batches)).not.toEqual(numbered(50));
    expect(bodiesOf(batches).sort()).toEqual(numbered(50).sort());
  });

  it('kills the function with the given probability, and the messages are delivered again', async () => {
    eventSource = { ...eventSource, batchSize: 1 };
    await sendMessages(numbered(20));
    const kills: (number | undefined)[] = [];
    const done: string[] = [];
    poll(() => undefined, {
      disorder: { seed: 3, kill: 0.3 },
      async invoke(payload, { killAfterMs }) {
        const { Records: records } = JSON.parse(payload) as { Records: SqsRecord[] };
        kills.push(killAfterMs);
        if (killAfterMs !== undefined) {
          await showAgain(records);
          return { kind: 'failed', errorType: 'Killed', errorMessage: '' };
        }
        done.push(...records.map(({ body }) => body));
        return { kind: 'succeeded', payload: 'null' };
      },
    });
    await eventually(async () => (await inQueue('queue')) === 0);
    const dead = await inQueue('dead');
    expect(new Set(done).size + dead).toBe(20);
    expect(kills.filter((each) => each !== undefined).length).toBeGreaterThan(1);
  });
});
