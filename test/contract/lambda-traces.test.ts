import { createSocket } from 'node:dgram';
import { once } from 'node:events';

import { afterAll, beforeAll, expect, vi } from 'vitest';

import { startAws, type AwsEmulators } from '../support/aws/aws-store.ts';
import { Lambdas } from '../support/aws/lambda.ts';
import { needs } from '../support/run/needs.ts';

const { it } = needs('Java');

interface Segment {
  readonly name: string;
  readonly trace_id?: string;
  readonly parent_id?: string;
  readonly namespace?: string;
  readonly annotations?: Record<string, unknown>;
  readonly aws?: Record<string, unknown>;
  readonly fault?: boolean;
  readonly subsegments?: readonly Segment[];
}

const root = '1-5759e988-bd862e3fe1be46a994272793';
const parent = '53995c3f42cd8ad8';
const header = (sampled: 0 | 1) => `Root=${root};Parent=${parent};Sampled=${sampled}`;

// A stand-in for the daemon that Lambda runs with a function.
const daemon = createSocket('udp4');
daemon.bind(0, '127.0.0.1');
await once(daemon, 'listening');
vi.stubEnv('AWS_XRAY_DAEMON_ADDRESS', `127.0.0.1:${daemon.address().port}`);
vi.stubEnv('AWS_EXECUTION_ENV', 'AWS_Lambda_nodejs24.x');
vi.stubEnv('LAMBDA_TASK_ROOT', '/var/task');
vi.stubEnv('AWS_LAMBDA_INITIALIZATION_TYPE', 'on-demand');

let aws: AwsEmulators;
beforeAll(async () => {
  aws = await startAws();
});
afterAll(async () => {
  vi.unstubAllEnvs();
  daemon.close();
  await aws.stop();
});

const received: Segment[] = [];
daemon.on('message', (datagram) => {
  const [, segment = ''] = datagram.toString().split('\n');
  received.push(JSON.parse(segment) as Segment);
});

/** All segments until the one of the invocation, which comes last. */
async function trace(name: string): Promise<{ invocation: Segment; calls: Segment[] }> {
  for (;;) {
    const at = received.findIndex((segment) => segment.name === name);
    const [invocation] = at === -1 ? [] : received.splice(at, 1);
    if (invocation === undefined) {
      await once(daemon, 'message');
      continue;
    }
    return { invocation, calls: [...received.splice(0), ...(invocation.subsegments ?? [])] };
  }
}

function told({ name, namespace, aws: { operation, ...place } = {} }: Segment) {
  const { table_name: table, bucket_name: bucket, queue_url: queue } = place;
  return [namespace, name, operation, table ?? bucket ?? queue];
}

const batch = {
  ...{ method: 'POST', path: '/ingest' },
  headers: { 'content-type': 'application/json', 'x-request-id': 'request-1' },
  body: JSON.stringify({
    processed_devices: [{ type: 'secret', state: 'erased', timestamp: '2023-06-16T13:00:00Z' }],
  }),
};

it('a sampled invocation is traced with each of its calls, and an unsampled one costs nothing', async () => {
  const lambdas = await Lambdas.create(aws, {
    ...{ POWERTOOLS_SERVICE_NAME: 'trial', LAMBDA_TASK_ROOT: '/var/task' },
  });
  const { bucket, ledgerTable, queueUrl } = lambdas.store;

  vi.stubEnv('_X_AMZN_TRACE_ID', header(0));
  expect((await lambdas.ask(batch)).status).toBe(200);
  // What X-Ray's SDK leaves there once it is loaded.
  expect(process).not.toHaveProperty('namespaces');

  vi.stubEnv('_X_AMZN_TRACE_ID', header(1));
  const { headers } = await lambdas.ask(batch);
  const { invocation, calls } = await trace('## ingest');
  expect(invocation).toMatchObject({ trace_id: root, parent_id: parent });
  expect(invocation.annotations).toEqual({
    ...{ ColdStart: false, Service: 'trial', request_id: 'request-1' },
    batch_id: headers['location']?.slice('/ingest/'.length),
  });
  expect(calls.map(told)).toEqual(
    expect.arrayContaining([
      ['aws', 'S3', 'PutObject', bucket],
      ['aws', 'SQS', 'SendMessageBatch', queueUrl],
      ['aws', 'DynamoDB', 'PutItem', ledgerTable],
    ]),
  );
  expect(JSON.stringify([invocation, calls])).not.toContain('secret');

  await lambdas.drain();
  const counting = await trace('## process');
  expect(counting.calls.map(told)).toContainEqual([
    ...['aws', 'DynamoDB', 'TransactWriteItems', undefined],
  ]);
  expect(process).toHaveProperty('namespaces');
  // The unsampled one would have arrived before.
  expect(received).toEqual([]);
});
