import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import {
  ChangeMessageVisibilityBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  type SendMessageBatchRequestEntry,
} from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { createStore, scan, startAws, type AwsEmulators } from '../../support/aws/aws-store.ts';
import { EmulatedBackend } from './aws-emulated-backend.ts';
import { nameOf } from '../faults/aws-fault-layer.ts';
import { dynamodbCommands, s3Commands } from './aws-random-commands.ts';
import { randomFrom } from './aws-random.ts';
import { AwsSimulation, bucket, ledgerTable, queueUrl, type Backend } from './aws-simulation.ts';
import { needs } from '../../support/run/needs.ts';
import { rounds } from '../../support/run/tier.ts';

const comparisons = rounds({
  what: 'comparisons of the simulation with the emulators',
  ...{ quick: 4, nightly: 60 },
});
const seeds = Array.from({ length: comparisons }, (_, at) => at);
const options = { now: () => Date.now(), makeId: () => crypto.randomUUID() };

/** The parts of a response, or of an error, that the engine uses. */
async function outcomeOf(backend: Backend, command: object): Promise<unknown> {
  try {
    return withSortedSets(
      await comparable((await backend.execute(command)) as Record<string, unknown>),
    );
  } catch (error) {
    const { name, CancellationReasons, Item } = error as Error & {
      CancellationReasons?: readonly { Code?: string; Item?: unknown }[];
      Item?: unknown;
    };
    const reasons = CancellationReasons?.map(({ Code, Item: row }) => ({ Code, row }));
    return withSortedSets({ name, reasons, item: Item });
  }
}

/** DynamoDB's sets have no order. */
function withSortedSets(value: unknown): unknown {
  const sortSet = (name: string, member: unknown): unknown =>
    name === 'NS' && Array.isArray(member) ? [...(member as string[])].sort() : member;
  return JSON.parse(JSON.stringify(value, sortSet)) as unknown;
}

/** Removes the parts of a response that the simulation lacks. */
async function comparable(answer: Record<string, unknown>): Promise<unknown> {
  const body = answer['Body'] as { transformToByteArray(): Promise<Uint8Array> } | undefined;
  const contents = answer['Contents'] as readonly { Key?: string }[] | undefined;
  const { Item, Items, LastEvaluatedKey, IsTruncated, Metadata, ContentEncoding } = answer;
  return {
    ...{ Item, Items, LastEvaluatedKey, IsTruncated, Metadata, ContentEncoding },
    body: body && Buffer.from(await body.transformToByteArray()).toString('hex'),
    keys: contents?.map(({ Key }) => Key),
  };
}

/** Compares the simulation with third-party emulators. */
needs('Java').describe('the simulated AWS', () => {
  let aws: AwsEmulators;
  beforeAll(async () => {
    aws = await startAws();
  });
  afterAll(() => aws.stop());

  async function open() {
    const store = await createStore(aws);
    const simulation = new AwsSimulation(options);
    return { store, simulation, emulated: new EmulatedBackend(aws, store, options) };
  }

  async function agree(backends: readonly Backend[], command: object, step: number) {
    const [simulated, real] = await Promise.all(backends.map((each) => outcomeOf(each, command)));
    expect({ step, command: nameOf(command), outcome: simulated }).toEqual({
      ...{ step, command: nameOf(command), outcome: real },
    });
  }

  it.each(seeds)('answers as DynamoDB Local does: seed %i', async (seed) => {
    const { store, simulation, emulated } = await open();
    const next = dynamodbCommands(randomFrom(seed));
    for (let step = 0; step < 60; step++) await agree([simulation, emulated], next(), step);
    const byText = (rows: readonly object[]) =>
      rows.map((row) => JSON.stringify(withSortedSets(sorted(row)))).sort();
    const ledger = simulation.dynamodb.tables.get(ledgerTable)?.items() ?? [];
    expect(byText(ledger)).toEqual(byText(await scan(aws.dynamodb, store.ledgerTable)));
    expect(byText(await simulation.counters())).toEqual(byText(await emulated.counters()));
  });

  // fauxqs lists in the order of a locale: keys of one form, as ours are, come out alike.
  it.each(seeds.slice(0, 10))('answers as the S3 of fauxqs does: seed %i', async (seed) => {
    const { simulation, emulated } = await open();
    const next = s3Commands(randomFrom(seed));
    for (let step = 0; step < 40; step++) await agree([simulation, emulated], next(), step);
    expect(await simulation.objects()).toEqual(await emulated.objects());
    expect(await pagesOf(simulation)).toEqual(await pagesOf(emulated));
  });

  /** Messages have ids of their own on either side, and come in no order. */
  it.each(seeds.slice(0, 10))('answers as the SQS of fauxqs does: seed %i', async (seed) => {
    const { store, simulation } = await open();
    const real = { execute: (command: object) => aws.sqs.send(command as never) };
    const random = randomFrom(seed);
    const both = async (ask: (url: string, at: Backend['execute']) => Promise<unknown>) => {
      const simulated = await ask(queueUrl, (command) => simulation.execute(command));
      expect(simulated).toEqual(await ask(store.queueUrl, real.execute));
    };
    for (let step = 0; step < 8; step++) {
      const entries = entriesOf(random.below(13), `${step}`, random.chance(0.1));
      await both(async (QueueUrl, execute) => {
        try {
          const command = new SendMessageBatchCommand({ QueueUrl, Entries: entries });
          const answer = (await execute(command)) as { Successful?: { Id?: string }[] };
          return answer.Successful?.map(({ Id }) => Id);
        } catch (error) {
          return (error as Error).name;
        }
      });
      await both(counts);
      await both(receiveAll);
      await both(counts);
    }
  });
});

function entriesOf(count: number, step: string, isRepeated: boolean) {
  return Array.from({ length: count }, (_, at): SendMessageBatchRequestEntry => {
    const StringValue = `attribute ${at}`;
    return {
      Id: isRepeated ? '0' : String(at),
      MessageBody: `body ${step} ${at}`,
      ...(at % 2 === 0 && {
        MessageAttributes: { reason: { DataType: 'String', StringValue } },
      }),
    };
  });
}

async function counts(QueueUrl: string, execute: Backend['execute']): Promise<unknown> {
  const AttributeNames = [
    'ApproximateNumberOfMessages' as const,
    'ApproximateNumberOfMessagesNotVisible' as const,
    'ApproximateNumberOfMessagesDelayed' as const,
  ];
  const command = new GetQueueAttributesCommand({ QueueUrl, AttributeNames });
  return ((await execute(command)) as { Attributes?: unknown }).Attributes;
}

/** All visible messages, which stay visible. */
async function receiveAll(QueueUrl: string, execute: Backend['execute']): Promise<unknown> {
  const seen: unknown[] = [];
  const handles: (string | undefined)[] = [];
  for (;;) {
    const command = new ReceiveMessageCommand({
      ...{ QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: 600 },
      MessageAttributeNames: ['All'],
      MessageSystemAttributeNames: ['SentTimestamp', 'ApproximateReceiveCount'],
    });
    const { Messages = [] } = (await execute(command)) as {
      Messages?: {
        ReceiptHandle?: string;
        Body?: string;
        MessageAttributes?: { reason?: { StringValue?: string } };
        Attributes?: { ApproximateReceiveCount?: string };
      }[];
    };
    if (Messages.length === 0) break;
    for (const { ReceiptHandle, Body, MessageAttributes, Attributes } of Messages) {
      handles.push(ReceiptHandle);
      const reason = MessageAttributes?.reason?.StringValue;
      seen.push(JSON.stringify([Body, reason, Attributes?.ApproximateReceiveCount]));
    }
  }
  for (let at = 0; at < handles.length; at += 10) {
    const Entries = handles
      .slice(at, at + 10)
      .map((ReceiptHandle, place) => ({ Id: String(place), ReceiptHandle, VisibilityTimeout: 0 }));
    await execute(new ChangeMessageVisibilityBatchCommand({ QueueUrl, Entries }));
  }
  return seen.sort();
}

async function pagesOf(backend: Backend): Promise<unknown[]> {
  const pages: unknown[] = [];
  let ContinuationToken: string | undefined;
  do {
    const page = (await backend.execute(
      new ListObjectsV2Command({
        ...{ Bucket: bucket, Prefix: 'raw/', MaxKeys: 2 },
        ...(ContinuationToken === undefined
          ? { StartAfter: 'raw/2026-01-02' }
          : { ContinuationToken }),
      }),
    )) as { NextContinuationToken?: string; Contents?: { Key?: string }[] };
    pages.push(page.Contents?.map(({ Key }) => Key));
    ContinuationToken = page.NextContinuationToken;
  } while (ContinuationToken !== undefined);
  return pages;
}

function sorted(row: object): object {
  return Object.fromEntries(Object.entries(row).sort(([a], [b]) => (a < b ? -1 : 1)));
}
