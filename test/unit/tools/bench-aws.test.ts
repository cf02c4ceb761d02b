import { describe, expect, it } from 'vitest';

import { addStorage, addTraces, tableBytes, tracesOf } from '../../../bench/aws/besides.ts';
import { dynamodbUnits, itemBytes } from '../../../bench/aws/dynamodb-units.ts';
import { accessLogLine } from '../../../bench/aws/logs.ts';
import { Meter } from '../../../bench/aws/meter.ts';
import {
  fixedMonth,
  idleSweepsMonth,
  monthDollars,
  secretReadsMonth,
} from '../../../bench/aws/month.ts';
import { dollarsOf, Usage } from '../../../bench/aws/usage.ts';
import { priceTable } from '../../../bench/prices.ts';
import type { AwsCall } from '../../../infra/local/emulators/wire-call.ts';

function call(part: Partial<AwsCall> & Pick<AwsCall, 'service' | 'operation'>, request?: object) {
  const requestBody = Buffer.from(request === undefined ? '' : JSON.stringify(request));
  const common = { caller: 'ingest', environmentId: 'ingest0', target: '/' };
  return { ...common, requestBytes: requestBody.length, requestBody, ...part };
}

function reply(body?: object, status = 200) {
  const responseBody = Buffer.from(body === undefined ? '' : JSON.stringify(body));
  return { status, responseBytes: responseBody.length, responseBody };
}

function units(meter: Meter): Record<string, number> {
  return Object.fromEntries(meter.usage.lines().map(({ what, units }) => [what, units]));
}

describe('the meter of AWS', () => {
  it('counts requests to the API by each 512 KB', () => {
    const meter = new Meter();
    const seen = { routeKey: 'POST /ingest', status: 200, responseBytes: 100 };
    for (const requestBytes of [0, 512 * 1024, 512 * 1024 + 1]) {
      meter.onRequest({ ...seen, requestBytes });
    }
    expect(units(meter)).toEqual({ request: 4 });
  });

  it('counts a run by its memory and its milliseconds, rounded up, and starts apart', () => {
    const meter = new Meter();
    meter.onReport({
      ...{ functionName: 'process', environmentId: 'process0', requestId: 'a', importMs: 90 },
      ...{ outcome: 'succeeded', durationMs: 9.2, initMs: 199.5, billedMs: 209, memoryMb: 512 },
      ...{ requestBytes: 10, responseBytes: 10 },
    });
    expect(units(meter)).toEqual({ 'process requests': 1, 'process GB-seconds': 0.005 });
    expect(meter.init.lines()).toMatchObject([{ units: 0.1 }]);
  });

  it('counts what is sent to the queue by each 64 KB of all its messages, attributes included', () => {
    const meter = new Meter();
    const send = (bytes: number, MessageAttributes?: object) =>
      meter.onCall(
        call(
          { service: 'sqs', operation: 'SendMessageBatch' },
          {
            Entries: [{ MessageBody: 'x'.repeat(bytes), MessageAttributes }, { MessageBody: 'é' }],
          },
        ),
        reply({}),
      );
    send(10);
    send(65_534);
    expect(units(meter)).toEqual({ 'ingest SendMessageBatch': 2 });
    send(65_535);
    send(65_534, { reason: { DataType: 'String', StringValue: 'why' } });
    expect(units(meter)).toEqual({ 'ingest SendMessageBatch': 6 });
  });

  it('counts what is received by its bodies, and empty receives apart', () => {
    const meter = new Meter();
    const caller = 'eventsource';
    const receive = call({ service: 'sqs', operation: 'ReceiveMessage', caller }, {});
    meter.onCall(receive, reply({ Messages: Array(10).fill({ Body: 'x'.repeat(20_000) }) }));
    meter.onCall(receive, reply({}));
    meter.onCall(
      call({ service: 'sqs', operation: 'DeleteMessageBatch', caller }, { Entries: [{ Id: '0' }] }),
      reply({}),
    );
    expect(units(meter)).toEqual({
      'eventsource DeleteMessageBatch': 1,
      'eventsource ReceiveMessage': 4,
    });
    expect(meter.idle.lines()).toMatchObject([{ units: 1 }]);
  });

  it('distinguishes S3 requests that write or list from those that read', () => {
    const meter = new Meter();
    for (const operation of ['PutObject', 'ListObjectsV2', 'GetObject', 'HeadObject']) {
      meter.onCall(call({ service: 's3', operation }), reply());
    }
    const prices = meter.usage.lines().map(({ what, price }) => [what, price]);
    expect(Object.fromEntries(prices)).toEqual({
      'ingest PutObject': 's3WriteRequest',
      'ingest ListObjectsV2': 's3WriteRequest',
      'ingest GetObject': 's3ReadRequest',
      'ingest HeadObject': 's3ReadRequest',
    });
  });

  it('does not bill the benchmark’s own calls, nor what a service failed to do', () => {
    const meter = new Meter();
    const put = { service: 's3', operation: 'PutObject' } as const;
    for (const caller of ['bench', 'deployment']) meter.onCall(call({ ...put, caller }), reply());
    meter.onCall(call(put), reply(undefined, 503));
    expect(meter.usage.lines()).toEqual([]);
  });

  it('shows apart what DynamoDB bills although a condition or a conflict stopped it', () => {
    const meter = new Meter();
    const transaction = { TransactItems: [{ Put: { Item: { id: { S: 'a' } } } }] };
    const transact = call({ service: 'dynamodb', operation: 'TransactWriteItems' }, transaction);
    meter.onCall(transact, reply({}));
    meter.onCall(transact, reply({ __type: 'com.amazonaws#TransactionCanceledException' }, 400));
    expect(units(meter)).toEqual({
      'ingest TransactWriteItems': 2,
      'ingest TransactWriteItems (stopped)': 2,
    });
  });

  it('names calls whose units it does not know', () => {
    const meter = new Meter();
    meter.onCall(call({ service: 'dynamodb', operation: 'Scan' }, {}), reply({}));
    expect([...meter.unmetered]).toEqual(['ingest Scan']);
  });
});

describe('the units of DynamoDB', () => {
  const text = (bytes: number) => ({ S: 'x'.repeat(bytes) });

  it('computes the size of an item from its names and values', () => {
    expect(itemBytes({ id: { S: 'né' } })).toBe(5);
    expect(itemBytes({ n: { N: '1234' } })).toBe(4);
    expect(itemBytes({ b: { B: Buffer.alloc(32).toString('base64') } })).toBe(33);
  });

  it('counts writes by 1 KB, and twice within a transaction', () => {
    expect(dynamodbUnits('PutItem', { Item: { a: text(1023) } }, {})?.write).toBe(1);
    expect(dynamodbUnits('PutItem', { Item: { a: text(1024) } }, {})?.write).toBe(2);
    const TransactItems = [
      { Put: { Item: { a: text(1024) } } },
      { Update: { Key: { a: text(1) } } },
    ];
    expect(dynamodbUnits('TransactWriteItems', { TransactItems }, {})?.write).toBe(6);
  });

  it('counts reads by 4 KB, all of a query together, and half where they may be stale', () => {
    const ConsistentRead = true;
    const Items = [{ a: text(3000) }, { a: text(3000) }];
    expect(dynamodbUnits('Query', { ConsistentRead }, { Items, Count: 2 })?.read).toBe(2);
    expect(dynamodbUnits('Query', { ConsistentRead }, { Items: [], Count: 0 })?.read).toBe(1);
    expect(dynamodbUnits('GetItem', {}, { Item: { a: text(5000) } })?.read).toBe(1);
    expect(dynamodbUnits('GetItem', { ConsistentRead }, {})?.read).toBe(1);
  });

  it('counts reads of a batch one by one, missing ones too, and not those left for another time', () => {
    const Keys = Array.from({ length: 4 }, (_, id) => ({ id: { N: String(id) } }));
    const request = { RequestItems: { t: { Keys, ConsistentRead: true } } };
    const Responses = { t: [{ a: text(10) }, { a: text(5000) }] };
    const UnprocessedKeys = { t: { Keys: Keys.slice(3) } };
    expect(dynamodbUnits('BatchGetItem', request, { Responses, UnprocessedKeys })?.read).toBe(4);
  });

  it('counts writes that a condition stopped, and none that were refused', () => {
    const answered = (name: string) =>
      dynamodbUnits('PutItem', { Item: { a: text(1) } }, { __type: `com.amazonaws#${name}` });
    expect(answered('ConditionalCheckFailedException')?.write).toBe(1);
    expect(answered('ProvisionedThroughputExceededException')?.write).toBe(0);
  });

  it('does not guess what a filter kept back', () => {
    expect(dynamodbUnits('Query', {}, { Items: [], Count: 0, ScannedCount: 3 })).toBeUndefined();
  });
});

describe('the cost of what was used', () => {
  it('adds up by service and by number of events', () => {
    const usage = new Usage();
    usage.add('SQS', 'ingest SendMessageBatch', 'sqsRequest', 1000);
    usage.add('SQS', 'ingest SendMessageBatch', 'sqsRequest', 1000);
    usage.add('S3', 'ingest PutObject', 's3WriteRequest', 100);
    const dollars = dollarsOf(usage.lines(), 0.1);
    expect(dollars.SQS).toBeCloseTo(2000 * priceTable.units.sqsRequest * 10, 12);
    expect(dollars.S3).toBeCloseTo(0.005, 12);
    expect(dollars.total).toBeCloseTo(dollars.SQS + dollars.S3, 12);
    expect(dollars.Lambda).toBe(0);
  });
});

describe('usage that is billed besides the requests', () => {
  const metricsLine = (...names: string[]) =>
    JSON.stringify({
      _aws: { CloudWatchMetrics: [{ Metrics: names.map((Name) => ({ Name })) }] },
    });

  it('is each line of a log with 26 bytes, of the functions and of the API', () => {
    const meter = new Meter('x'.repeat(74));
    meter.onRequest({ routeKey: undefined, status: 200, requestBytes: 0, responseBytes: 0 });
    meter.onOutput('ingest', 'é\nab\n');
    expect(meter.besides.lines()).toEqual([
      { service: 'Logs', what: 'access log', price: 'logGb', units: 100 / 1e9 },
      { service: 'Logs', what: 'ingest log', price: 'logGb', units: 56 / 1e9 },
    ]);
  });

  it('is each metric that a function writes, by its name', () => {
    const meter = new Meter();
    meter.onOutput('ingest', `${metricsLine('Duration', 'Requests')}\n{"level":"INFO"}\n`);
    meter.onOutput('ingest', metricsLine('Duration'));
    meter.onOutput('query', metricsLine('Duration'));
    expect([...meter.metrics]).toEqual(['ingest Duration', 'ingest Requests', 'query Duration']);
  });

  it('is a line of the access log as the stage would write it', () => {
    const stage = (Format: string) => ({
      Resources: {
        Stage: {
          Type: 'AWS::ApiGatewayV2::Stage',
          Properties: { AccessLogSettings: { Format } },
        },
      },
    });
    expect(accessLogLine(stage('{"ip":"$context.identity.sourceIp","s":"$context.status"}'))).toBe(
      '{"ip":"203.0.113.100","s":"200"}',
    );
    expect(() => accessLogLine(stage('$context.stage'))).toThrow('$context.stage');
  });

  it('is one trace a second for each function, and one in twenty beyond', () => {
    expect(tracesOf(10, 60)).toBe(10);
    expect(tracesOf(1_060, 60)).toBe(60 + 50);
    const besides = new Usage();
    addTraces(
      besides,
      [
        { service: 'Lambda', what: 'ingest requests', price: 'lambdaRequest', units: 30 },
        { service: 'Lambda', what: 'ingest GB-seconds', price: 'lambdaGbSecond', units: 3 },
      ],
      10,
    );
    expect(besides.lines()).toMatchObject([{ what: 'ingest traces', units: 11 }]);
  });

  it('is the storage of rows with 100 bytes each, and with recovery, for as long as they are kept', () => {
    expect(tableBytes([{ id: { S: 'ab' } }, { b: { B: new Uint8Array(32) } }])).toBe(104 + 133);
    const besides = new Usage();
    addStorage(besides, { ledgerBytes: 1e9, rawBytes: 2e9, keepDays: 90 });
    const dollars = Object.fromEntries(
      besides.lines().map((line) => [line.what, dollarsOf([line]).Storage]),
    );
    expect(dollars['ledger rows, 90 days']).toBeCloseTo(0.75, 12);
    expect(dollars['ledger rows, 90 days, recovery']).toBeCloseTo(0.6, 12);
    expect(dollars['raw bodies, a month']).toBeCloseTo(0.046, 12);
  });
});

describe('a month of a stack that is idle', () => {
  const alarm = (Properties: Record<string, unknown>) => ({
    Type: 'AWS::CloudWatch::Alarm',
    Properties,
  });
  const rule = (ScheduleExpression: string) => ({
    Type: 'AWS::Events::Rule',
    Properties: { ScheduleExpression },
  });
  const template = {
    Resources: {
      One: alarm({ MetricName: 'Errors' }),
      Sum: alarm({ Metrics: [{ Expression: 'a + b' }, { MetricStat: {} }, { MetricStat: {} }] }),
      Dashboard: { Type: 'AWS::CloudWatch::Dashboard' },
      Secret: { Type: 'AWS::SecretsManager::Secret' },
      Source: { Type: 'AWS::Lambda::EventSourceMapping' },
      Rule: rule('rate(5 minutes)'),
    },
  };

  it('is its alarms by their metrics, its dashboard, its secret and the polling of its queue', () => {
    const lines = fixedMonth(template);
    expect(lines.map(({ what, units }) => [what, units])).toEqual([
      ['metrics of 2 alarms', 3],
      ['dashboard', 1],
      ['secret', 1],
      ['polls of the empty queue', 648_000],
    ]);
    expect(monthDollars(lines)).toBeCloseTo(0.3 + 3 + 0.4 + 0.2592, 12);
    expect(fixedMonth({ Resources: {} })).toEqual([]);
  });

  it('is its sweeps as often as they are scheduled', () => {
    const list = { service: 'S3', what: 'sweep List', price: 's3WriteRequest', units: 2 } as const;
    const lines = idleSweepsMonth(template, [list], 2);
    expect(lines.map(({ units }) => units)).toEqual([2 * 8640, 2]);
    expect(monthDollars(lines)).toBeCloseTo(2 * 8640 * 5e-6 + 0.6, 12);
    const cron = { Resources: { Rule: rule('cron(0 12 * * ? *)') } };
    expect(() => idleSweepsMonth(cron, [], 0)).toThrow('cron(0 12 * * ? *)');
  });

  it('and of one in use: each warm environment reads the secret every five minutes', () => {
    expect(secretReadsMonth.units).toBe(8640);
    expect(monthDollars([secretReadsMonth])).toBeCloseTo(0.0432, 12);
  });
});
