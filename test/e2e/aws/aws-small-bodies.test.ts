import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

import { ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { CreateQueueCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect, onTestFinished } from 'vitest';

import { clientEnvironment, clientSettings } from '../../../infra/local/client-settings.ts';
import type { LocalStack } from '../../../infra/local/local-stack.ts';
import { messageWithBody } from '../../support/aws/carried-message.ts';
import { callerOf } from '../../support/aws/command-permissions.ts';
import { promptTemplate, startTestStack } from '../../support/aws/test-stack.ts';
import { openWriter } from '../../support/embedded-store.ts';
import { directory, run } from '../../support/processes/command-line.ts';
import { exchange, postBatch } from '../../support/server.ts';
import { needs } from '../../support/run/needs.ts';

const { it } = needs('Java');

const countedWithinMs = 120_000;
const item = { type: 'lamp', state: 'on', timestamp: '2023-06-16T13:00:00Z' };

let stack: LocalStack;
beforeAll(async () => {
  stack = await startTestStack({
    ...(await promptTemplate()),
    isThrottled: false,
    variables: { SMALL_BODIES: 'queue' },
  });
});
afterAll(() => stack.stop());

function command(...args: string[]) {
  const { endpoint, description } = stack;
  const variables = clientEnvironment(endpoint, description.region, callerOf(args));
  return run(args, undefined, { ...variables, AWS_ENDPOINT_URL: endpoint });
}

async function output(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await command(...args);
  expect(code, `${args.join(' ')}: ${stdout}${stderr}`).toBe(0);
  return stdout;
}

async function atRest(): Promise<void> {
  const deadline = Date.now() + countedWithinMs;
  for (;;) {
    const { text } = await exchange(stack.url, { path: '/readyz' });
    if ((JSON.parse(text) as { pending_messages: number }).pending_messages === 0) return;
    if (Date.now() > deadline) throw new Error(`still ${text}`);
    await delay(50);
  }
}

/** The objects of the bucket by the folder that they are in. */
async function folders(): Promise<Record<string, number>> {
  const { endpoint, description } = stack;
  const settings = clientSettings(endpoint, description.region, 'test');
  const client = new S3Client({ ...settings, forcePathStyle: true });
  const Bucket = description.outputs['BucketName'];
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket }));
  client.destroy();
  const names = Contents.map(({ Key = '' }) => Key.split('/')[0] ?? '');
  return Object.fromEntries(
    [...new Set(names)].map((name) => [name, names.filter((each) => each === name).length]),
  );
}

const stats = async (...from: string[]) =>
  JSON.parse(await output('stats', ...from, '--date', '2023-06-16', '--json')) as unknown;

it('small bodies ride in the queue, and all commands work on them as on others', async () => {
  const plain = Buffer.from(
    `{ "processed_devices" :\n[ ${JSON.stringify({ ...item, x: 'ä"' })} ]}\n`,
  );
  const bodies = [
    { body: plain, headers: {} },
    { body: gzipSync(plain, { level: 9 }), headers: { 'content-encoding': 'gzip' } },
    { body: plain, headers: { 'idempotency-key': 'a' } },
    // A rejected item: this one has an object of its own.
    {
      body: Buffer.from(JSON.stringify({ processed_devices: [item, {}] })),
      headers: { prefer: 'handling=lenient' },
    },
    { body: Buffer.from(JSON.stringify({ processed_devices: [item, item] })), headers: {} },
  ];
  const rawKeys: string[] = [];
  for (const { body, headers } of bodies) {
    const { status, text } = await postBatch(stack.url, body, headers);
    expect(status, text).toBe(200);
    rawKeys.push((JSON.parse(text) as { raw_key: string }).raw_key);
  }
  const again = await postBatch(stack.url, plain, { 'idempotency-key': 'a' });
  expect((JSON.parse(again.text) as { raw_key: string }).raw_key).toBe(rawKeys[2]);
  await atRest();

  expect(await folders()).toMatchObject({ raw: 1, grouped: expect.any(Number) as number });
  expect(await stats('--url', stack.url)).toEqual([
    { date: '2023-06-16', type: 'lamp', state: 'on', count: 6 },
  ]);
  for (const rawKey of rawKeys) {
    const { text } = await exchange(stack.url, { path: `/ingest/${rawKey.slice(-41, -5)}` });
    expect(JSON.parse(text)).toMatchObject({ status: 'counted', raw_key: rawKey });
  }

  const listed = (await output('raw', 'list', '--stack', 'local')).trimEnd().split('\n');
  const batches = listed.map((line) => JSON.parse(line) as { raw_key: string; bytes: number });
  expect(batches.map(({ raw_key }) => raw_key)).toEqual(rawKeys);
  expect(batches.map(({ bytes }) => bytes)).toEqual(bodies.map(({ body }) => body.length));
  const copy = join(directory, 'copy-of-groups');
  await output('raw', 'export', copy, '--stack', 'local');
  for (const [at, { body }] of bodies.entries()) {
    expect(readFileSync(join(copy, rawKeys[at] ?? ''))).toEqual(body);
  }
  expect(await output('raw', 'get', rawKeys[0]?.slice(-41, -5) ?? '', '--stack', 'local')).toBe(
    plain.toString(),
  );
  const audit = await output('audit', '--stack', 'local', '--in-flight', '0', '--json');
  expect(JSON.parse(audit)).toMatchObject({ batches: 5, items: 6, keys: 1 });
}, 300_000);

it('what waits in the queue of a deleted stack is counted by another one', async () => {
  const { endpoint, description } = stack;
  const sqs = new SQSClient(clientSettings(endpoint, description.region, 'test'));
  onTestFinished(() => sqs.destroy());
  const own = description.outputs['QueueUrl'] ?? '';
  const MessageBody = messageWithBody({ ...item, type: 'kept' });
  const [QueueUrl, missing] = ['kept', 'missing'].map((name) => own.replace(/[^/]*$/, name));
  await sqs.send(new CreateQueueCommand({ QueueName: 'kept' }));
  await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }));

  const redrive = (url = '') =>
    command('dlq', 'redrive', '--all', '--queue', url, '--stack', 'local');
  expect(await redrive(own)).toMatchObject({
    code: 1,
    stderr: `device-pipeline: ${own} is the stack's own queue, which local processes anyway. Give --queue only for a queue of another stack.\n`,
  });
  expect(await redrive(missing)).toMatchObject({
    code: 1,
    stderr: `device-pipeline: There is no queue ${missing ?? ''}. Check the name, or set AWS_REGION and AWS_PROFILE.\n`,
  });
  expect((await redrive(QueueUrl)).stdout).toContain('sent 1 to be counted, left 0');
  await atRest();
  expect(await stats('--url', stack.url)).toContainEqual({
    ...{ date: '2023-06-16', type: 'kept', state: 'on', count: 1 },
  });
  expect((await redrive(QueueUrl)).stdout).toContain('sent 0 to be counted, left 0');
}, 300_000);

it('batches are replayed out of both forms, and back', async () => {
  const [first, second, third] = ['first', 'second', 'third'].map((name) => join(directory, name));
  const replay = (from = '', to = '') =>
    output('replay', '--from', from, '--to', to, '--allow-other-days');
  await replay('stack:local', first);
  const own = await stats('--url', stack.url);
  expect(await stats('--data-dir', first ?? '')).toEqual(own);
  await output('audit', '--data-dir', first ?? '');
  // Nothing comes twice.
  await replay(first, 'stack:local');
  await atRest();
  expect(await stats('--url', stack.url)).toEqual(own);
  // From another store to the stack, and on to a third.
  const writer = openWriter(second ?? '');
  const body = Buffer.from(JSON.stringify({ processed_devices: [{ ...item, type: 'moved' }] }));
  const batch = { body, encoding: 'identity', strict: false, caller: '' } as const;
  expect(await writer.ingest({ ...batch, idempotencyKey: 'b' })).toMatchObject({ accepted: true });
  await writer.close();
  await replay(second, 'stack:local');
  await atRest();
  await replay('stack:local', third);
  expect(await stats('--data-dir', third ?? '')).toEqual(await stats('--url', stack.url));
  await output('audit', '--data-dir', third ?? '');
  await output('audit', '--stack', 'local', '--in-flight', '0');
}, 300_000);
