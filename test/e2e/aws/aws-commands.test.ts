import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect } from 'vitest';

import type { CompressedForm } from '../../../infra/local/gateway/api-event.ts';
import { clientEnvironment, clientSettings } from '../../../infra/local/client-settings.ts';
import {
  createHttpFront,
  type HttpFront,
  type HttpFrontOptions,
} from '../../../infra/local/gateway/http-front.ts';
import type { LocalStack } from '../../../infra/local/local-stack.ts';
import { createClient } from '../../../src/client/index.ts';
import { rawKeyOf } from '../../../src/domain/batch-id.ts';
import { cutIntoChunks } from '../../../src/pipeline/chunks/chunk.ts';
import { readCountersDirectly } from '../../support/aws/aws-store.ts';
import { callerOf } from '../../support/aws/command-permissions.ts';
import { promptTemplate, startTestStack } from '../../support/aws/test-stack.ts';
import { directory, run, start } from '../../support/processes/command-line.ts';
import { exchange, postBatch } from '../../support/server.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Java');

// A dozen commands, one after the other, on a machine that may be busy.
const countedWithinMs = 120_000;
const item = { type: 'lamp', state: 'on', timestamp: '2023-06-16T13:00:00Z' };

let stack: LocalStack;
let sqs: SQSClient;
let dynamodb: DynamoDBClient;

beforeAll(async () => {
  stack = await startTestStack({ ...(await promptTemplate()), isThrottled: false });
  const client = clientSettings(stack.endpoint, stack.description.region, 'test');
  sqs = new SQSClient(client);
  dynamodb = new DynamoDBClient(client);
});

afterAll(async () => {
  sqs.destroy();
  dynamodb.destroy();
  await stack.stop();
});

function environment(args: readonly string[]): Record<string, string> {
  const { endpoint, description } = stack;
  const variables = clientEnvironment(endpoint, description.region, callerOf(args));
  return { ...variables, AWS_ENDPOINT_URL: endpoint };
}

/** Runs a command on the stack. */
async function command(...args: string[]) {
  return await run([...args, '--stack', 'local'], undefined, environment(args));
}

async function lines<T>(...args: string[]): Promise<T[]> {
  const { code, stdout, stderr } = await command(...args);
  expect(code, stderr).toBe(0);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as T);
}

interface Status {
  readonly pending_messages: number;
  readonly dead_letters: number;
}

/** Resolves when the queue is empty and there is this number of dead letters. */
async function atRest(deadLetters: number): Promise<void> {
  const deadline = Date.now() + countedWithinMs;
  for (;;) {
    const { text } = await exchange(stack.url, { path: '/readyz' });
    const status = JSON.parse(text) as Status;
    if (status.pending_messages === 0 && status.dead_letters === deadLetters) return;
    if (Date.now() > deadline) throw new Error(`still ${text}`);
    await delay(50);
  }
}

async function put(output: 'QueueUrl' | 'DeadLetterQueueUrl', body: string, originalId?: string) {
  const MessageAttributes = originalId && {
    original_message_id: { DataType: 'String', StringValue: originalId },
  };
  const { MessageId = '' } = await sqs.send(
    new SendMessageCommand({
      ...{ QueueUrl: stack.description.outputs[output], MessageBody: body },
      ...(MessageAttributes && { MessageAttributes }),
    }),
  );
  return MessageId;
}

function countersTable(): string {
  return stack.description.outputs['TableName'] ?? '';
}

async function countOf(type: string): Promise<number> {
  const rows = await readCountersDirectly(dynamodb, countersTable());
  return rows.filter((row) => row.type === type).reduce((sum, { count }) => sum + count, 0);
}

/** A message of a batch that was never stored. */
function chunkOf(receivedAt: number, type: string): { name: string; message: string } {
  const batchId = `019b770e-7be9-7000-9f05-${String(receivedAt).slice(-12).padStart(12, '0')}`;
  const event = { ...item, type, date: '2023-06-16' };
  const [chunk] = cutIntoChunks({ batchId, receivedAt }, [event]);
  return { name: `${batchId}:0`, message: chunk?.message ?? '' };
}

interface Listed {
  readonly raw_key: string;
  readonly received_at: string;
  readonly bytes: number;
  readonly encoding: string;
}

it('raw gives back each body byte for byte', async () => {
  const plain = Buffer.from(
    `{ "processed_devices" :\n[ ${JSON.stringify({ ...item, x: 'ä' })} ]}\n`,
  );
  const packed = gzipSync(plain, { level: 9 });
  const first = await postBatch(stack.url, plain);
  const gzip = { 'content-encoding': 'gzip' };
  const second = await postBatch(stack.url, packed, gzip);
  expect([first.status, second.status]).toEqual([200, 200]);
  const batches = await lines<Listed>('raw', 'list');
  expect(batches).toMatchObject([
    { bytes: plain.length, encoding: 'identity', accepted: 1, rejected: 0 },
    { bytes: packed.length, encoding: 'gzip', accepted: 1, rejected: 0 },
  ]);
  const [{ received_at: since } = { received_at: '' }] = batches;
  expect(await lines('raw', 'list', '--until', since)).toEqual([]);
  expect(await lines('raw', 'list', '--since', since, '--brief')).toHaveLength(2);

  const copy = join(directory, 'copy');
  for (let times = 0; times < 2; times++) {
    const exported = await command('raw', 'export', copy);
    expect(exported).toMatchObject({ code: 0, stdout: `2 batches in ${copy}\n` });
    const listed = readFileSync(join(copy, 'batches.ndjson'), 'utf8').trimEnd().split('\n');
    expect(listed.map((line) => JSON.parse(line) as Listed)).toEqual(batches);
    for (const [at, body] of [plain, packed].entries()) {
      expect(readFileSync(join(copy, batches[at]?.raw_key ?? ''))).toEqual(body);
    }
  }
  const ends = ['--from', 'stack:local', '--to', join(directory, 'moved'), '--allow-other-days'];
  const moved = await run(['replay', ...ends, '--json'], undefined, environment(['replay']));
  expect(moved.code, moved.stderr).toBe(0);
  expect(JSON.parse(moved.stdout)).toMatchObject({ sent: { batches: 2 }, keys: 'not_known' });
  const rawKey = batches[1]?.raw_key ?? '';
  const batchId = rawKey.slice(-41, -5);
  const get = ['raw', 'get', batchId, '--stack', 'local'];
  const got = start(get, undefined, environment(get));
  const parts: Buffer[] = [];
  got.child.stdout.on('data', (part: Buffer) => parts.push(part));
  expect(await got.outcome).toMatchObject({ code: 0, stderr: '' });
  expect(Buffer.concat(parts)).toEqual(packed);
  const other = rawKeyOf('019b770e-7be9-7000-9f05-000000000000', 0);
  expect(await command('raw', 'get', other)).toMatchObject({ code: 1 });
  expect(await command('raw', 'get', 'nonsense')).toMatchObject({ code: 2 });
});

describe.each<[CompressedForm, RegExp, string[]]>([
  ['base64', /\nok {7}compressed {2}accepted, /, []],
  [
    'text',
    /\nwarning {2}compressed {2}compressed bodies do not arrive intact; /,
    ['compression_not_supported'],
  ],
])('if the API passes compressed bodies on as %s', (compressedAs, line, told) => {
  let front: HttpFront;
  let url: string;
  beforeAll(async () => {
    const { accountId } = stack.description;
    const routes = stack.description.routes.map((route) => ({ ...route, throttle: undefined }));
    const invoke: HttpFrontOptions['invoke'] = async (role, payload) =>
      (await stack.functions.get(role)?.invoke(payload)) ?? expect.fail(`no function ${role}`);
    front = createHttpFront({ routes, accountId, invoke, compressedAs });
    url = `http://127.0.0.1:${await front.listen('127.0.0.1', 0)}`;
  });
  afterAll(() => front.stop(1_000));

  it('the events of a client count once each', async () => {
    const reasons: string[] = [];
    const onCompressionOff = (reason: string) => reasons.push(reason);
    const client = createClient({ url, batchItemsMax: 50, onCompressionOff });
    for (let n = 0; n < 400; n += 1) await client.send({ ...item, type: compressedAs, n });
    expect(await client.close()).toEqual({ accepted: 400, refused: 0, givenUp: 0 });
    expect(reasons.map((reason) => reason.split(/[ :]/)[1])).toEqual(told);
    await atRest(0);
    expect(await countOf(compressedAs)).toBe(400);
  });

  it('check says so, works, and counts nothing', async () => {
    const before = await readCountersDirectly(dynamodb, countersTable());
    const { code, stdout, stderr } = await run(['check', '--url', url]);
    expect([code, stderr], stdout).toEqual([0, '']);
    expect(stdout).toMatch(line);
    await atRest(0);
    expect(await readCountersDirectly(dynamodb, countersTable())).toEqual(before);
  });
});

it('check finds the stack by its name', async () => {
  const { code, stdout, stderr } = await command('check');
  expect([code, stderr], stdout).toEqual([0, '']);
  expect(stdout).toMatch(/^checking http:\/\/127\.0\.0\.1:\d+\n[^]*\nall steps passed; /);
});

it('dlq shows dead letters, sends them again, and drops them', async () => {
  const bad = await put('QueueUrl', 'not\u007fjson');
  await atRest(1);
  // As SQS itself puts them there: without a reason.
  const id = await put('DeadLetterQueueUrl', JSON.stringify({ ...item, type: 'foreign' }));
  const old = chunkOf(Date.now() - 100 * 86_400_000, 'old');
  await put('DeadLetterQueueUrl', old.message);
  const fresh = chunkOf(Date.now(), 'fresh');
  await put('DeadLetterQueueUrl', fresh.message);
  await atRest(4);

  const shown = await command('dlq', 'list');
  expect(shown).toMatchObject({ code: 0, stderr: '' });
  expect(shown.stdout).toMatch(/invalid_json: .*\n {2}first failed 20.*\n {2}not\\u\{7f\}json\n/);
  expect(shown.stdout).toMatch(/\.json, chunk 0, 1 item\n {2}not_counted: SQS moved the message/);
  interface Letter {
    readonly id: string;
    readonly reason: string;
    readonly dropped_at: string | null;
  }
  const list = () => lines<Letter>('dlq', 'list', '--json');
  expect((await list()).map((letter) => letter.id).sort()).toEqual(
    [id, old.name, fresh.name, bad].sort(),
  );

  const redriven = await command('dlq', 'redrive', '--reason', 'not_counted', '--json');
  expect(redriven.code).toBe(1);
  expect(JSON.parse(redriven.stdout)).toMatchObject({
    sent: 2,
    left: [{ id: old.name, reason: expect.stringMatching(/^too_old: /) as string }],
  });
  await atRest(2);
  expect([await countOf('foreign'), await countOf('fresh'), await countOf('old')]).toEqual([
    1, 1, 0,
  ]);

  // Again, as if the redrive had been killed before it deleted them.
  await put('DeadLetterQueueUrl', JSON.stringify({ ...item, type: 'foreign' }), id);
  await put('DeadLetterQueueUrl', fresh.message);
  const unwanted = chunkOf(Date.now(), 'unwanted');
  await put('DeadLetterQueueUrl', unwanted.message);
  expect(await command('dlq', 'redrive', id, 'unknown')).toMatchObject({
    ...{ code: 1, stdout: `${id}: sent\nsent 1 to be counted, left 0\n` },
    stderr: '"unknown" is not among the dead letters\n',
  });
  const dropped = await command('dlq', 'drop', '--all', '--json');
  expect(dropped).toMatchObject({ code: 0 });
  expect(JSON.parse(dropped.stdout)).toEqual({ dropped: 3, counted_before: [fresh.name] });
  await put('QueueUrl', unwanted.message);
  await atRest(0);
  expect([await countOf('foreign'), await countOf('fresh')]).toEqual([1, 1]);
  expect([await countOf('unwanted'), await countOf('old')]).toEqual([0, 0]);
  expect((await list()).map(({ dropped_at }) => typeof dropped_at)).toEqual([
    'string',
    'string',
    'string',
  ]);
});

it('says what is wrong with a stack that is not there', async () => {
  const list = ['dlq', 'list', '--stack', 'other'];
  const outcome = await run(list, undefined, environment(list));
  expect(outcome.code).toBe(1);
  expect(outcome.stderr).toMatch(/^device-pipeline: There is no stack other /);
});
