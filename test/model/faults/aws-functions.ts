import { batchIdMaker, type BatchIdMaker } from '../../../src/domain/batch-id.ts';
import { asWritten, dayRule } from '../../../src/domain/day.ts';
import { awsCountingPorts } from '../../../src/engines/aws/counters/counting-ports.ts';
import { awsIntake, type AwsIntakeOptions } from '../../../src/engines/aws/intake/intake.ts';
import { awsSweepPorts } from '../../../src/engines/aws/intake/sweep-ports.ts';
import type { Backoff } from '../../../src/util/backoff.ts';
import {
  type PassOptions,
  type StoredDeadLetter,
} from '../../../src/engines/aws/dead-letters/dead-letter-pass.ts';
import { dropDeadLetters, type DropOutcome } from '../../../src/engines/aws/dead-letters/drop.ts';
import { CounterAdmission } from '../../../src/engines/aws/counters/counter-admission.ts';
import { DynamodbBatchRecords } from '../../../src/engines/aws/ledger/batch-records.ts';
import {
  dynamodbCounterStore,
  type CounterStoreOptions,
  type LedgerDelivery,
} from '../../../src/engines/aws/counters/counter-store.ts';
import { ensureDayRule } from '../../../src/engines/aws/ledger/settings.ts';
import { keepDeadBodies } from '../../../src/engines/aws/dead-letters/keep-bodies.ts';
import { deadLetterOnce } from '../../../src/engines/aws/dead-letters/dead-letter-once.ts';
import { dynamodbReceipts } from '../../../src/engines/aws/ledger/receipts.ts';
import type { DedupKey } from '../../../src/engines/aws/ledger/dedup-records.ts';
import { redriveDeadLetters } from '../../../src/engines/aws/dead-letters/redrive.ts';
import { s3BodyGroups, type BodyGroups } from '../../../src/engines/aws/intake/body-groups.ts';
import { s3RawStore, type S3RawBatch } from '../../../src/engines/aws/intake/raw-store.ts';
import { sqsChunkQueue } from '../../../src/engines/aws/queue/chunk-queue.ts';
import { deadLetterQueue } from '../../../src/engines/aws/dead-letters/dead-letter-queue.ts';
import {
  countMessages,
  type QueueMessage,
  type RepeatWatch,
} from '../../../src/pipeline/counting/count-messages.ts';
import { ingest } from '../../../src/pipeline/ingest.ts';
import type {
  ChunkQueue,
  CounterStore,
  IngestOutcome,
  DeadLetterSink,
  Receipts,
  Submission,
} from '../../../src/pipeline/ports.ts';
import { sweep, sweepBatch } from '../../../src/pipeline/sweep/sweep.ts';
import type { SweepResult } from '../../../src/pipeline/sweep/ports.ts';
import { earlierCarriedId } from '../../support/aws/earlier-ids.ts';
import { clientOf } from './aws-fault-layer.ts';
import type { Random } from '../simulated-aws/aws-random.ts';
import type { Invocation, Scheduler } from './aws-scheduler.ts';
import {
  bucket,
  countersTable,
  deadLetterQueueUrl,
  ledgerTable,
  queueUrl,
} from '../simulated-aws/aws-simulation.ts';

export const dayMs = 86_400_000;
export const keepMs = 90 * dayMs;
export const receivesMax = 5;
export const sweepAfterMs = 15 * 60_000;
export const timeoutMs = { ingest: 28_000, process: 60_000, sweep: 240_000, command: 600_000 };
export const dayOf = dayRule(asWritten);
const ageMsMax = keepMs - 7 * dayMs;
const bodyBytesMax = 4 * 1024 * 1024;

type BatchRecords = AwsIntakeOptions['records'];
export type Client = ReturnType<typeof clientOf>;

type Ports = ReturnType<typeof awsCountingPorts>;

/** Parts of the engine that a planted bug replaces. */
export interface Variant {
  readonly counterStore?: (
    options: CounterStoreOptions,
    messageOf: (delivery: LedgerDelivery) => QueueMessage,
  ) => CounterStore<DedupKey, LedgerDelivery>;
  readonly parking?: (inner: DeadLetterSink) => DeadLetterSink;
  /** The client that sends messages. */
  readonly sqsClient?: (inner: Client) => Client;
  /** The client of a redrive or a drop. */
  readonly commandClient?: (inner: Client) => Client;
  /** Of the intake. */
  readonly batchRecords?: (inner: DynamodbBatchRecords) => BatchRecords;
  /** Of the intake. */
  readonly chunkQueue?: (inner: ChunkQueue) => ChunkQueue;
  /** As the sweeper reads it. */
  readonly rawOfSweep?: (raw: S3RawBatch, itemsPerMessageNow: number) => S3RawBatch;
  /** Of the processor. */
  readonly bodyGroups?: (inner: BodyGroups) => Pick<BodyGroups, 'put'>;
  readonly countingPorts?: (inner: Ports) => Ports;
  readonly ageMsMaxOfProcess?: number;
  readonly hasNoSweeper?: boolean;
}

/** The state that the functions of one schedule share. */
export interface FunctionWorld {
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly variant: Variant;
  /** The limit of distinct counters of a day. */
  readonly countersPerDayMax: number;
  /** The idle environments of the ingest function; a killed one does not return. */
  readonly environments: IngestEnvironment[];
  /** Whether the messages of small batches carry their bodies now. */
  readonly carriesBodies: boolean;
  /** Of the processor. */
  readonly repeats: RepeatWatch;
}

/** The state of an environment that survives an invocation. */
export interface IngestEnvironment {
  readonly makeBatchId: BatchIdMaker;
  readonly admission: CounterAdmission;
  client: Client;
}

function takeEnvironment(world: FunctionWorld, client: Client): IngestEnvironment {
  const idle = world.environments.pop();
  if (idle !== undefined) {
    idle.client = client;
    return idle;
  }
  const environment: IngestEnvironment = {
    client,
    makeBatchId: batchIds(world),
    admission: new CounterAdmission({
      client: { send: (command: object) => environment.client.send(command) },
      countersTable,
      countersPerDayMax: world.countersPerDayMax,
      dayOf,
      now: () => world.scheduler.now,
    }),
  };
  return environment;
}

/** Sometimes as an earlier version without dedup blocks created them: such messages may still wait. */
function batchIds({ random }: FunctionWorld): BatchIdMaker {
  const make = batchIdMaker((count) => random.bytes(count));
  let isEarlier: boolean | undefined;
  return (now, items) => {
    if (items === undefined) return make(now);
    isEarlier ??= random.chance(0.3);
    return isEarlier ? earlierCarriedId(make(now), items) : make(now, items);
  };
}

/** The ingest function behind its HTTP side. */
export async function runIngest(
  world: FunctionWorld,
  invocation: Invocation,
  submission: Submission,
  itemsPerMessage: number,
): Promise<IngestOutcome> {
  const { client, sqs, now, backoff } = partsOf(world, invocation);
  const queue = sqsChunkQueue({ client: sqs, queueUrl, backoff: backoff(6) });
  const environment = takeEnvironment(world, client);
  const records = new DynamodbBatchRecords({ client, ledgerTable, keepMs });
  const intake = awsIntake({
    records: world.variant.batchRecords?.(records) ?? records,
    rawStore: s3RawStore(client, bucket),
    queue: world.variant.chunkQueue?.(queue) ?? queue,
    itemsPerMessage,
    admission: environment.admission,
    dayOf,
    makeBatchId: environment.makeBatchId,
    now,
    onFailure: () => undefined,
    carriesBodies: world.carriesBodies,
    shortestRetentionMs: () => Promise.resolve(keepMs),
  });
  await begin(world, client);
  const outcome = await ingest(submission, intake, { bodyBytesMax, dayOf });
  world.environments.push(environment);
  return outcome;
}

/** The process function; returns the ids of the messages to deliver again. */
export async function runProcess(
  world: FunctionWorld,
  invocation: Invocation,
  messages: readonly QueueMessage[],
): Promise<ReadonlySet<string>> {
  const { client, clientThatTriesOnce, now, backoff } = partsOf(world, invocation);
  await begin(world, client);
  const deadline = invocation.endsAt - 5_000;
  const options = {
    ...{ countersTable, ledgerTable, keepMs },
    backoff: backoff(Number.POSITIVE_INFINITY, deadline),
  };
  const { variant } = world;
  const makeStore = variant.counterStore ?? dynamodbCounterStore;
  const sources = new Map<LedgerDelivery, QueueMessage>();
  const messageOf = (delivery: LedgerDelivery) => sources.get(delivery) as QueueMessage;
  const store = makeStore({ ...options, client: clientThatTriesOnce }, messageOf);
  const ours = awsCountingPorts(store, parkingOf(world, invocation), {
    ...{ client, ledgerTable, backoff: backoff(4, deadline) },
    storing: options.backoff,
    groups: variant.bodyGroups?.(s3BodyGroups(client, bucket)) ?? s3BodyGroups(client, bucket),
  });
  const ports = variant.countingPorts?.(ours) ?? ours;
  const left = await countMessages(
    messages,
    {
      ...ports,
      deliveryOf(message, reading) {
        const delivery = ports.deliveryOf(message, reading);
        sources.set(delivery, message);
        return delivery;
      },
    },
    {
      dayOf,
      now,
      deadline,
      ageMsMax: variant.ageMsMaxOfProcess ?? ageMsMax,
      receivesMax,
      repeats: world.repeats,
    },
  );
  return new Set([...left].map(({ messageId }) => messageId));
}

/** The sweep function. */
export async function runSweep(
  world: FunctionWorld,
  invocation: Invocation,
  itemsPerMessageNow: number,
): Promise<SweepResult> {
  const { client, sqs, now, backoff } = partsOf(world, invocation);
  const rawStore = s3RawStore(client, bucket);
  await begin(world, client);
  const ports = awsSweepPorts({
    ledger: { client, ledgerTable, keepMs },
    rawStore: {
      ...rawStore,
      async get(rawKey) {
        const raw = await rawStore.get(rawKey);
        const { rawOfSweep } = world.variant;
        return raw === undefined ? raw : (rawOfSweep?.(raw, itemsPerMessageNow) ?? raw);
      },
    },
    queue: sqsChunkQueue({ client: sqs, queueUrl, backoff: backoff(6) }),
    ...{ sqs: client, queueUrl, backoff: backoff(6) },
    deadLetters: parkingOf(world, invocation),
    width: 32,
  });
  await keepDeadBodies({
    pass: passOf(client, now),
    deadLetters: deadLetterQueue({
      client: sqs,
      queueUrl: deadLetterQueueUrl,
      backoff: backoff(6),
    }),
    groups: s3BodyGroups(client, bucket),
  });
  return sweep(ports, {
    ...{ dayOf, now, afterMs: sweepAfterMs, ageMsMax, keepMs },
    deadline: invocation.endsAt - 20_000,
    onFailure: () => undefined,
    onForgotten: () => undefined,
  });
}

/** `dlq redrive` of these dead letters. */
export function runRedrive(
  world: FunctionWorld,
  invocation: Invocation,
  isChosen: (deadLetter: StoredDeadLetter) => boolean,
  onDeadLetter: (deadLetter: StoredDeadLetter, left: string | undefined) => void,
): Promise<unknown> {
  const { client, now, backoff } = commandPartsOf(world, invocation);
  const queue = { client, queueUrl, backoff: backoff(6) };
  const ports = awsSweepPorts({
    ledger: { client, ledgerTable, keepMs },
    rawStore: s3RawStore(client, bucket),
    queue: sqsChunkQueue(queue),
    ...{ sqs: client, queueUrl, backoff: queue.backoff },
    deadLetters: { add: () => Promise.resolve(new Set()) },
    width: 1,
  });
  const rules = { ...{ dayOf, now, ageMsMax, keepMs }, afterMs: sweepAfterMs };
  const late = {
    deadline: Number.POSITIVE_INFINITY,
    ...{ onFailure: () => undefined, onForgotten: () => undefined },
  };
  const redriveBatch = (rawKey: string) => sweepBatch(rawKey, ports, { ...rules, ...late });
  const pass = passOf(client, now);
  return redriveDeadLetters({ pass, queue, redriveBatch, dayOf, ageMsMax }, isChosen, {
    onDeadLetter,
  });
}

/** `dlq drop` of these dead letters. */
export function runDrop(
  world: FunctionWorld,
  invocation: Invocation,
  isChosen: (deadLetter: StoredDeadLetter) => boolean,
  onDeadLetter: (deadLetter: StoredDeadLetter, outcome: DropOutcome) => void,
): Promise<unknown> {
  const { client, now, backoff } = commandPartsOf(world, invocation);
  const options = {
    ...{ client, ledgerTable, backoff: backoff(6), pass: passOf(client, now) },
    groups: s3BodyGroups(client, bucket),
  };
  return dropDeadLetters(options, isChosen, onDeadLetter);
}

function passOf(client: Client, now: () => number): PassOptions {
  return { client, queueUrl: deadLetterQueueUrl, now, limit: 1_000, waitSeconds: 1 };
}

function commandPartsOf(world: FunctionWorld, invocation: Invocation) {
  const parts = partsOf(world, invocation);
  return { ...parts, client: world.variant.commandClient?.(parts.client) ?? parts.client };
}

export function receiptsOf(world: FunctionWorld, invocation: Invocation): Receipts {
  const { client, now } = partsOf(world, invocation);
  return dynamodbReceipts({ client, ledgerTable, keepMs, now });
}

function partsOf({ scheduler, random, variant }: FunctionWorld, invocation: Invocation) {
  // Whole milliseconds, like Date.now: raw keys have no more.
  const now = () => Math.floor(scheduler.now);
  const backoff = (attemptsMax: number, deadline = Number.POSITIVE_INFINITY): Backoff => ({
    ...{ attemptsMax, delayMsMax: 1_000, deadline, now },
    sleep: (milliseconds) => scheduler.sleep(invocation, milliseconds),
    random: () => random.next(),
  });
  const client = clientOf(invocation, scheduler, random);
  const sqs = variant.sqsClient?.(client) ?? client;
  const clientThatTriesOnce = clientOf(invocation, scheduler, random, 1);
  return { client, sqs, clientThatTriesOnce, now, backoff };
}

function parkingOf(world: FunctionWorld, invocation: Invocation): DeadLetterSink {
  const { client, sqs, now, backoff } = partsOf(world, invocation);
  const deadLetters = deadLetterQueue({
    client: sqs,
    queueUrl: deadLetterQueueUrl,
    backoff: backoff(4),
  });
  const inner = world.variant.parking?.(deadLetters) ?? deadLetters;
  return deadLetterOnce(inner, { client, ledgerTable, keepMs, now });
}

/** The first invocation of an environment checks the store's day rule. */
async function begin(world: FunctionWorld, client: Client): Promise<void> {
  if (world.random.chance(0.2)) await ensureDayRule(client, ledgerTable, asWritten);
}
