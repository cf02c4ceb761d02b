import { setTimeout as delay } from 'node:timers/promises';

import { GetQueueAttributesCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect } from 'vitest';

import { localCloudFormation } from '../../../infra/local/template/cloudformation.ts';
import { startWire, type Wire } from '../../../infra/local/emulators/wire.ts';
import {
  copyTable,
  readCountersDirectly,
  createStore,
  startAws,
  type AwsEmulators,
  type AwsStore,
} from '../../support/aws/aws-store.ts';
import { directory, run } from '../../support/processes/command-line.ts';
import { Lambdas } from '../../support/aws/lambda.ts';
import { needs } from '../../support/run/needs.ts';

const { describe, it } = needs('Java');

const timestamp = '2023-06-16T13:00:00Z';
const json = { 'content-type': 'application/json' };

let aws: AwsEmulators;
/** The store as it continues, and its tables as they were a moment before. */
let store: AwsStore;
let lambdas: Lambdas;
let early: { counters: string; ledger: string };
let lastRawKey: string;
let wire: Wire;

beforeAll(async () => {
  aws = await startAws();
  store = await createStore(aws);
  lambdas = functionsOn(store);
  const { environment } = aws;
  const cloudFormation = localCloudFormation('local', {
    ApiUrl: 'http://127.0.0.1:1',
    BucketName: store.bucket,
    TableName: store.countersTable,
    LedgerTableName: store.ledgerTable,
    QueueUrl: store.queueUrl,
    DeadLetterQueueUrl: store.deadLetterQueueUrl,
    ...{ ItemsPerMessage: 'packed', DayZone: 'as-written', KeepReceiptsDays: '90' },
  });
  wire = await startWire({
    dynamoDbUrl: environment['AWS_ENDPOINT_URL_DYNAMODB'] ?? '',
    fauxqsUrl: environment['AWS_ENDPOINT_URL_S3'] ?? '',
    cloudFormation: () => cloudFormation,
  });
  await post('before');
  await post('before');
  await lambdas.drain();
  await lambdas.sweep();
  const { dynamodb } = aws;
  early = {
    counters: await copyTable(dynamodb, store.countersTable),
    ledger: await copyTable(dynamodb, store.ledgerTable),
  };
  const { text } = await post('after', { 'idempotency-key': 'k' });
  lastRawKey = (JSON.parse(text) as { raw_key: string }).raw_key;
  await lambdas.drain();
  // A sweep checks batches of earlier milliseconds.
  await delay(2);
});

afterAll(async () => {
  await wire.stop();
  await aws.stop();
});

function functionsOn(tables: AwsStore): Lambdas {
  return new Lambdas(aws, tables, { SWEEP_AFTER_SECONDS: '0' });
}

function post(type: string, headers: Record<string, string> = {}, to = lambdas) {
  const body = JSON.stringify({ processed_devices: [{ type, state: 'on', timestamp }] });
  return to.ask({ method: 'POST', path: '/ingest', headers: { ...json, ...headers }, body });
}

async function queued(): Promise<number> {
  const name = 'ApproximateNumberOfMessages';
  const { Attributes } = await aws.sqs.send(
    new GetQueueAttributesCommand({ QueueUrl: store.queueUrl, AttributeNames: [name] }),
  );
  return Number(Attributes?.[name]);
}

function command(...args: string[]) {
  const { AWS_REGION = '' } = aws.environment;
  const credentials = { AWS_ACCESS_KEY_ID: 'operator', AWS_SECRET_ACCESS_KEY: 'local' };
  return run(args, undefined, { AWS_ENDPOINT_URL: wire.url, AWS_REGION, ...credentials });
}

async function countsIn(table: string): Promise<[string, number][]> {
  const rows = await readCountersDirectly(aws.dynamodb, table);
  return rows.map(({ type, count }): [string, number] => [type, count]);
}

const exact = [
  ['after', 1],
  ['before', 2],
];
const atOnce = ['--in-flight', '0'];

/** Follows docs/restoring.md with those names of the store in place of the stack's. */
async function recover(restored: AwsStore, names: readonly string[]): Promise<void> {
  const functions = functionsOn(restored);
  await expect(functions.sweep()).rejects.toThrow(/copy|copies/);
  expect(await queued()).toBe(0);

  const found = await command('audit', ...names, ...atOnce);
  expect(found, found.stderr + found.stdout).toMatchObject({ code: 1 });
  const workDir = ['--work-dir', directory];
  const rebuilt = await command('rebuild', ...names, ...atOnce, ...workDir);
  expect(rebuilt, rebuilt.stderr + rebuilt.stdout).toMatchObject({ code: 0 });
  // It says nothing of the tables itself.
  await expect(functions.sweep()).rejects.toThrow('npx device-pipeline adopt');
  const adopted = await command('adopt', ...names.filter(isOfTables));
  expect(adopted, adopted.stderr).toMatchObject({ code: 0 });
  expect(adopted.stdout).toMatch(/^adopted: the counters table /);
  expect(adopted.stderr).toMatch(/^time to live is off.*update-time-to-live/);

  await functions.sweep();
  await functions.drain();
  expect(await countsIn(restored.countersTable)).toEqual(exact);
  const proven = await command('audit', ...names, ...atOnce);
  expect(proven, proven.stderr + proven.stdout).toMatchObject({ code: 0 });
  // A retry of what came after the moment of the restore is known again.
  const again = await post('after', { 'idempotency-key': 'k' }, functions);
  expect(again.status).toBe(200);
  expect(await queued()).toBe(0);
}

/** `adopt` has no use for the bucket. */
function isOfTables(word: string, at: number, words: readonly string[]): boolean {
  return word !== '--bucket' && words[at - 1] !== '--bucket';
}

describe('after a restore', () => {
  it('nothing counts twice where the ledger is older than the counters', async () => {
    const ledgerTable = await copyTable(aws.dynamodb, early.ledger);
    const names = ['--stack', 'local', '--ledger', ledgerTable];
    const restored = { ...store, ledgerTable };
    const origin = JSON.stringify({ raw_key: lastRawKey, accepted: 1, rejected: 0 });
    const replayed = await post('after', { 'replay-of': origin }, functionsOn(restored));
    expect(replayed.status).toBe(503);
    const refused = await Promise.all([
      command('dlq', 'redrive', '--all', ...names),
      command('rebuild', '--restore-old', ...names),
    ]);
    for (const outcome of refused) {
      expect(outcome).toMatchObject({ code: 1, stdout: '' });
      expect(outcome.stderr).toMatch(/^device-pipeline: Batches could be counted again\. /);
    }

    await recover(restored, names);
    const nothing = await command('adopt', '--json', ...names);
    expect(JSON.parse(nothing.stdout)).toEqual({
      ...{ adopted: false, why: null, time_to_live: false },
      ...{ counters_table: store.countersTable, ledger_table: ledgerTable },
    });
  });

  it('of both tables, what came later is counted, also where the stack is gone', async () => {
    const [countersTable, ledgerTable] = await Promise.all([
      copyTable(aws.dynamodb, early.counters),
      copyTable(aws.dynamodb, early.ledger),
    ]);
    const tables = ['--table', countersTable, '--ledger', ledgerTable];
    const names = ['--bucket', store.bucket, ...tables];
    await recover({ ...store, countersTable, ledgerTable }, names);

    const [listed, got, counted] = await Promise.all([
      command('raw', 'list', '--bucket', store.bucket),
      command('raw', 'get', lastRawKey, '--bucket', store.bucket),
      command('stats', '--date', '2023-06-16', '--csv', '--table', countersTable),
    ]);
    expect(listed.stdout.trimEnd().split('\n')).toHaveLength(3);
    expect(got.stdout).toContain('"type":"after"');
    expect(counted.stdout).toBe(
      'date,type,state,count\r\n2023-06-16,after,on,1\r\n2023-06-16,before,on,2\r\n',
    );
  });

  it('a command says what is missing', async () => {
    const [dead, absent] = await Promise.all([
      command('dlq', 'list', '--ledger', 'l'),
      command('adopt', '--table', 'no-such', '--ledger', 'no-such-ledger'),
    ]);
    expect(dead).toMatchObject({ code: 2, stdout: '' });
    expect(dead.stderr).toContain('give --stack');
    expect(absent).toMatchObject({ code: 1, stdout: '' });
    expect(absent.stderr).toContain('No such table: no-such and no-such-ledger.');
  });
});
