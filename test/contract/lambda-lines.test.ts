import { ReceiveMessageCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import type { SQSRecord } from 'aws-lambda';
import { afterAll, afterEach, beforeAll, expect, vi } from 'vitest';

import { sqsRecord } from '../../infra/local/functions/sqs-event.ts';
import { processFunction } from '../../src/entry/lambda/process-function.ts';
import { startAws, type AwsEmulators } from '../support/aws/aws-store.ts';
import { lambdaContext, Lambdas } from '../support/aws/lambda.ts';
import { needs } from '../support/run/needs.ts';

const { describe, it } = needs('Java');

let aws: AwsEmulators;
beforeAll(async () => {
  aws = await startAws();
});
// As Lambda sets it.
vi.stubEnv('AWS_LAMBDA_INITIALIZATION_TYPE', 'on-demand');
afterAll(async () => {
  vi.unstubAllEnvs();
  await aws.stop();
});
afterEach(() => {
  vi.restoreAllMocks();
});

const item = { type: 'phone', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
const json = { 'content-type': 'application/json' };
const powertools = {
  POWERTOOLS_METRICS_DISABLED: 'false',
  POWERTOOLS_SERVICE_NAME: 'trial',
  POWERTOOLS_LOG_LEVEL: 'DEBUG',
};

type Line = Record<string, unknown>;

/** The output of the functions from now on. */
function output() {
  const texts: string[] = [];
  for (const stream of [process.stdout, process.stderr]) {
    vi.spyOn(stream, 'write').mockImplementation((text) => texts.push(String(text)) > 0);
  }
  const lines = () => texts.join('').split('\n').slice(0, -1);
  const parsed = () => lines().map((line) => JSON.parse(line) as Line);
  return {
    lines,
    /** Takes the lines so far: those of the log, and those of metrics. */
    take() {
      const all = parsed();
      texts.length = 0;
      return {
        log: all.filter((line) => !('_aws' in line)),
        metrics: all.filter((line) => '_aws' in line),
      };
    },
  };
}

/** The content of a line of metrics: dimensions and amounts, except the duration. */
function told(lines: readonly Line[]): Line[] {
  return lines.map((line) => {
    const { _aws: aws, Duration, function_request_id: id, ...rest } = line;
    expect(Duration).toBeTypeOf('number');
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    const { CloudWatchMetrics: sets } = aws as { CloudWatchMetrics: Line[] };
    expect(sets).toHaveLength(1);
    expect(sets[0]).toMatchObject({
      Namespace: 'DevicePipeline',
      Dimensions: [['service', 'function']],
    });
    const metrics = sets[0]?.['Metrics'] as Line[];
    const defined = metrics.map(({ Name }) => Name);
    const amounts = Object.keys(rest).filter((name) => name !== 'service' && name !== 'function');
    expect(defined.sort()).toEqual([...amounts, 'Duration'].sort());
    return rest;
  });
}

function post(lambdas: Lambdas, body: string, headers: Record<string, string> = {}) {
  return lambdas.ask({ method: 'POST', path: '/ingest', headers: { ...json, ...headers }, body });
}

function batch(...items: unknown[]): string {
  return JSON.stringify({ processed_devices: items });
}

describe('an invocation writes one line of metrics', () => {
  it('of a batch: the accepted and rejected items, and why', async () => {
    const lambdas = await Lambdas.create(aws, powertools);
    const seen = output();
    const body = batch(item, { type: 1 }, item);
    await post(lambdas, body);
    await post(lambdas, '{');
    const query = await lambdas.ask({ path: '/stats?date=x' });
    expect(query.status).toBe(400);
    expect(told(seen.take().metrics)).toEqual([
      {
        ...{ service: 'trial', function: 'ingest', ColdStart: 1, Requests: 1 },
        ...{ BatchesAccepted: 1, ItemsAccepted: 2, ItemsRefused: 1, BodyBytes: body.length },
        ...{ ItemError_not_a_string: 1 },
      },
      { service: 'trial', function: 'ingest', Requests: 1, Problem_invalid_json: 1 },
      { service: 'trial', function: 'query', ColdStart: 1, Requests: 1, Problem_invalid_date: 1 },
    ]);
  });

  it('of messages: the counted, repeated and dead-lettered ones', async () => {
    const lambdas = await Lambdas.create(aws, powertools);
    const seen = output();
    await post(lambdas, batch(item, item));
    seen.take();
    const { queueUrl } = lambdas.store;
    const message = { QueueUrl: queueUrl, MessageBody: 'secret body' };
    await aws.sqs.send(new SendMessageCommand(message));
    await lambdas.drain();
    const { metrics, log } = seen.take();
    expect(told(metrics)).toEqual([
      {
        ...{ service: 'trial', function: 'process', ColdStart: 1 },
        ...{ ChunksCounted: 1, ItemsCounted: 2, DeadLettersParked: 1 },
      },
    ]);
    expect(log).toMatchObject([
      { level: 'WARN', message: 'messages dead-lettered', letters: 1, reasons: ['invalid_json'] },
    ]);
    expect(JSON.stringify(log)).not.toContain('secret');
  });

  it('of messages that could not be counted in time: how many, and the age of the oldest', async () => {
    const lambdas = await Lambdas.create(aws, powertools);
    const seen = output();
    await post(lambdas, batch(item));
    seen.take();
    const { queueUrl: QueueUrl } = lambdas.store;
    const { Messages: [message] = [] } = await aws.sqs.send(
      new ReceiveMessageCommand({ QueueUrl, MessageSystemAttributeNames: ['All'] }),
    );
    if (message === undefined) expect.fail('there is no message');
    const record = sqsRecord(message, 'arn:aws:sqs:local', 'local') as unknown as SQSRecord;
    record.attributes.SentTimestamp = String(Date.now() - 1_000_000);
    const atItsEnd = { ...lambdaContext('process'), getRemainingTimeInMillis: () => 0 };
    const answer = await processFunction(lambdas.environment)({ Records: [record] }, atItsEnd);
    expect(answer.batchItemFailures).toHaveLength(1);
    const { metrics, log } = seen.take();
    expect(told(metrics)).toMatchObject([{ MessagesLeft: 1 }]);
    expect(metrics[0]?.['UncountedSeconds']).toBeGreaterThanOrEqual(1_000);
    expect(log).toMatchObject([{ level: 'ERROR', message: 'messages were not counted' }]);
  });

  it('of a sweep, besides the log line with the same figures', async () => {
    const lambdas = await Lambdas.create(aws, { ...powertools, SWEEP_AFTER_SECONDS: '0' });
    const seen = output();
    await post(lambdas, batch(item));
    seen.take();
    await lambdas.sweep();
    const { metrics, log } = seen.take();
    const amounts = { BatchesSwept: 1, MessagesResent: 1, SweepsDone: 1 };
    expect(told(metrics)).toEqual([
      { service: 'trial', function: 'sweep', ColdStart: 1, ...amounts },
    ]);
    const result = { batches: 1, orphans: 0, resent: 1, parked: 0, failed: 0, forgotten: 0 };
    expect(log).toMatchObject([{ level: 'INFO', message: 'swept', function: 'sweep', ...result }]);
  });
});

describe('a line of log', () => {
  it('names the function, its invocation, the request and the batch', async () => {
    const lambdas = await Lambdas.create(aws, powertools);
    const seen = output();
    const accepted = await post(lambdas, batch(item), { 'x-request-id': 'of-the-client' });
    await post(lambdas, batch(item));
    const [first, second] = seen.take().log;
    const of = {
      ...{ level: 'DEBUG', message: 'batch accepted', service: 'trial', function: 'ingest' },
      ...{ function_name: 'local-ingest', items: 1, refused: 0 },
    };
    expect(first).toMatchObject({
      ...of,
      cold_start: true,
      request_id: 'of-the-client',
      batch_id: accepted.headers['location']?.slice('/ingest/'.length),
    });
    expect(second).toMatchObject({ ...of, cold_start: false });
    const { request_id: given, function_request_id: ours } = second ?? {};
    expect(given).toMatch(/^[0-9a-f-]{36}$/);
    expect(ours).toMatch(/^[0-9a-f-]{36}$/);
    expect(given).not.toBe(ours);
  });

  it('of a refusal has the id that the answer has, and nothing that the client has sent', async () => {
    const lambdas = await Lambdas.create(aws, powertools);
    const seen = output();
    const secret = 'dpl_sEcReT';
    const refused = await post(lambdas, `{"${secret}`, {
      ...{ authorization: `Bearer ${secret}`, 'x-request-id': secret, 'idempotency-key': secret },
      'x-other': secret,
    });
    await lambdas.ask({ path: `/${secret}?${secret}=${secret}` });
    const lines = seen.lines();
    expect(lines.filter((line) => /secret/i.test(line))).toEqual([]);
    const { log } = seen.take();
    expect(log).toMatchObject([
      { level: 'INFO', message: 'request refused', route: '/ingest', code: 'invalid_json' },
      { level: 'INFO', message: 'request refused', route: 'other', code: 'not_found' },
    ]);
    expect(log[0]?.['request_id']).toBe(refused.headers['x-request-id']);
    expect(log[0]?.['request_id']).toMatch(/^[0-9a-f-]{36}$/);
  });
});
