import { setTimeout as delay } from 'node:timers/promises';

import { DynamoDBClient, paginateScan, type AttributeValue } from '@aws-sdk/client-dynamodb';
import { paginateListObjectsV2, S3Client } from '@aws-sdk/client-s3';
import { GetQueueAttributesCommand, SQSClient } from '@aws-sdk/client-sqs';

import { clientSettings } from '../../infra/local/client-settings.ts';
import { startLocalStack, type LocalStack } from '../../infra/local/local-stack.ts';
import type { LocalStackOptions } from '../../infra/local/local-stack.ts';
import { addStorage, addTraces, tableBytes } from './besides.ts';
import { accessLogLine } from './logs.ts';
import { Meter } from './meter.ts';
import { isNaive, type Mode } from './modes.ts';
import { postAll } from './post.ts';
import { traffics, type Traffic } from './traffic.ts';
import type { UsageLine } from './usage.ts';

export interface RunOptions {
  readonly mode: Mode;
  readonly traffic: Traffic;
  readonly itemsPerRequest: number;
  readonly events: number;
  /** Requests per second; `Infinity`: as many as are accepted. */
  readonly ratePerSecond: number;
  /** Whether counting starts after everything is sent: invocations are then as full as at a high rate. */
  readonly isGathered: boolean;
  /** The number of environments of the ingest function. */
  readonly environments: number;
  /** Whether each request has an `Idempotency-Key`, as requests of our own clients do. */
  readonly hasKeys: boolean;
  readonly stack: Pick<LocalStackOptions, 'template' | 'bundlesDirectory' | 'variables'>;
}

export interface RunResult extends Omit<RunOptions, 'stack'> {
  readonly requests: number;
  readonly counters: number;
  readonly rawBytes: number;
  readonly postedSeconds: number;
  readonly countedSeconds: number;
  readonly usage: readonly UsageLine[];
  readonly idle: readonly UsageLine[];
  readonly init: readonly UsageLine[];
  /** Logs, traces and storage. */
  readonly besides: readonly UsageLine[];
  /** The number of metrics that the functions wrote. */
  readonly metrics: number;
  /** One sweep that finds nothing, with its logs and trace; empty for the naive way. */
  readonly idleSweep: readonly UsageLine[];
  /** The number of metrics that it writes. */
  readonly idleSweepMetrics: number;
}

/** With this in the environment, all counted batches are old enough to be swept. */
const sweepAtOnce = { SWEEP_AFTER_SECONDS: '0' };
const neverMs = 86_400_000;
/**
 * Sends the events through a new stack and meters it.
 * @throws if the counters do not exactly match the sent events: the figures would be meaningless.
 */
export async function run({ stack: settings, ...options }: RunOptions): Promise<RunResult> {
  let meter = new Meter();
  const watch = (next: Meter) => (meter = next);
  const gathered = Promise.withResolvers<undefined>();
  if (!options.isGathered) gathered.resolve(undefined);
  const stack = await startLocalStack({
    ...settings,
    variables: { ...settings.variables, ...sweepAtOnce },
    isThrottled: false,
    sweepEveryMs: neverMs,
    apiEnvironmentsMax: options.environments,
    pollersStartAfter: gathered.promise,
    observeCall: (call, reply) => meter.onCall(call, reply),
    observeRequest: (request) => meter.onRequest(request),
    onReport: (report) => meter.onReport(report),
    onOutput: (functionName, text) => meter.onOutput(functionName, text),
  });
  try {
    const idleSweep = isNaive(options.mode) ? new Meter() : await sweepIdle(stack, watch);
    watch(new Meter(accessLogLine(settings.template)));
    const sent = await send(stack, options, () => gathered.resolve(undefined));
    const rows = await counters(stack);
    check(rows, sent.expected);
    const stored = await storedObjects(stack);
    if (!isNaive(options.mode)) await sweepAll(stack, stored.bodies);
    const unmetered = [...idleSweep.unmetered, ...meter.unmetered];
    if (unmetered.length > 0) throw new Error(`not metered: ${unmetered.join()}`);
    const { requests, rawBytes, postedSeconds, countedSeconds } = sent;
    const usage = meter.usage.lines();
    addTraces(meter.besides, usage, countedSeconds);
    addStorage(meter.besides, {
      ledgerBytes: tableBytes(await rowsOf(stack, 'LedgerTableName')),
      rawBytes: stored.bytes,
      keepDays: Number(stack.description.outputs['KeepReceiptsDays']),
    });
    return {
      ...options,
      ...{ requests, rawBytes, postedSeconds, countedSeconds, counters: rows.size },
      usage,
      idle: meter.idle.lines(),
      init: meter.init.lines(),
      besides: meter.besides.lines(),
      metrics: meter.metrics.size,
      idleSweep: [...idleSweep.usage.lines(), ...idleSweep.besides.lines()],
      idleSweepMetrics: idleSweep.metrics.size,
    };
  } finally {
    await stack.stop();
  }
}

type Counts = Map<string, number>;

async function send(
  stack: LocalStack,
  { traffic, itemsPerRequest, events, ratePerSecond, hasKeys }: Omit<RunOptions, 'stack'>,
  onPosted: () => void,
) {
  const requests = Math.ceil(events / itemsPerRequest);
  const expected: Counts = new Map();
  let rawBytes = 0;
  const bodyOf = (index: number) => {
    const items = traffics[traffic](index, itemsPerRequest);
    for (const { timestamp, type, state } of items) {
      const key = keyOf(timestamp.slice(0, 10), `${type}#${state}`);
      expected.set(key, (expected.get(key) ?? 0) + 1);
    }
    const body = JSON.stringify({ processed_devices: items });
    rawBytes += body.length;
    return body;
  };
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  await postAll(stack.url, requests, bodyOf, { ratePerSecond, hasKeys });
  const postedSeconds = seconds();
  onPosted();
  await drained(stack);
  return { requests, rawBytes, expected, postedSeconds, countedSeconds: seconds() };
}

/** Settings with a caller that the meter ignores: calls of the benchmark itself are not billed. */
function settingsOf({ endpoint, description }: LocalStack) {
  return clientSettings(endpoint, description.region, 'bench');
}

/** Waits until no message waits or is being counted. */
async function drained(stack: LocalStack): Promise<void> {
  const client = new SQSClient(settingsOf(stack));
  const command = new GetQueueAttributesCommand({
    QueueUrl: stack.description.outputs['QueueUrl'],
    AttributeNames: ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'],
  });
  for (;;) {
    const { Attributes = {} } = await client.send(command);
    if (Object.values(Attributes).every((count) => count === '0')) break;
    await delay(250);
  }
  client.destroy();
}

/**
 * The number of raw bodies with an object of their own, and the total size of the objects in the bucket.
 */
async function storedObjects(stack: LocalStack): Promise<{ bodies: number; bytes: number }> {
  const client = new S3Client({ ...settingsOf(stack), forcePathStyle: true });
  const Bucket = stack.description.outputs['BucketName'];
  let [bodies, bytes] = [0, 0];
  for await (const { Contents = [] } of paginateListObjectsV2({ client }, { Bucket })) {
    for (const { Key = '', Size = 0 } of Contents) {
      if (Key.startsWith('raw/')) bodies++;
      bytes += Size;
    }
  }
  client.destroy();
  return { bodies, bytes };
}

async function counters(stack: LocalStack): Promise<Counts> {
  const rows: Counts = new Map();
  for (const { date, type_state: typeState, count } of await rowsOf(stack, 'TableName')) {
    rows.set(keyOf(date?.S ?? '', typeState?.S ?? ''), Number(count?.N));
  }
  return rows;
}

async function rowsOf(stack: LocalStack, output: string) {
  const client = new DynamoDBClient(settingsOf(stack));
  const rows: Record<string, AttributeValue>[] = [];
  const TableName = stack.description.outputs[output];
  for await (const { Items = [] } of paginateScan({ client }, { TableName })) rows.push(...Items);
  client.destroy();
  return rows;
}

function keyOf(date: string, typeState: string): string {
  return `${date} ${typeState}`;
}

function check(counted: Counts, expected: Counts): void {
  const wrong = [...expected].filter(([key, count]) => counted.get(key) !== count);
  if (wrong.length === 0 && counted.size === expected.size) return;
  const [[key, count] = ['', 0]] = wrong;
  throw new Error(
    `${wrong.length} counters of ${expected.size} are wrong: ${key} is ${counted.get(key) ?? 'missing'}, not ${count}`,
  );
}

/** Meters a sweep that finds nothing, in a warm environment. */
async function sweepIdle(stack: LocalStack, watch: (meter: Meter) => Meter): Promise<Meter> {
  const cold = await sweepOnce(stack, watch);
  const warm = await sweepOnce(stack, watch);
  for (const name of cold.metrics) warm.metrics.add(name);
  addTraces(warm.besides, warm.usage.lines(), 1);
  return warm;
}

async function sweepOnce(stack: LocalStack, watch: (meter: Meter) => Meter): Promise<Meter> {
  const meter = watch(new Meter());
  await stack.runSchedules();
  // The log of an environment arrives some time after its response.
  while (meter.metrics.size === 0) await delay(10);
  return meter;
}

/** Runs sweeps until each batch has been checked once: a sweep ends when its time is over. */
async function sweepAll(stack: LocalStack, batches: number): Promise<void> {
  for (let seen = 0; seen < batches;) {
    const [result] = await stack.runSchedules();
    if (result?.kind !== 'succeeded') throw new Error(`a sweep failed: ${JSON.stringify(result)}`);
    const swept = JSON.parse(result.payload) as { batches: number; resent: number };
    if (swept.resent > 0) throw new Error(`${swept.resent} messages were not counted in time`);
    if (swept.batches === 0) throw new Error(`${batches - seen} batches were not swept`);
    seen += swept.batches;
  }
}
