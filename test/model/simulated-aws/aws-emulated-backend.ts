import {
  BatchGetItemCommand,
  DeleteItemCommand,
  TransactionCanceledException,
  type BatchGetItemCommandInput,
} from '@aws-sdk/client-dynamodb';
import { GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import {
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  type SendMessageBatchCommandInput,
  type SendMessageBatchCommandOutput,
} from '@aws-sdk/client-sqs';

import { scan, type AwsEmulators, type AwsStore } from '../../support/aws/aws-store.ts';
import type { Item } from './aws-simulated-dynamodb.ts';
import type { SimulatedObject } from './aws-simulated-s3.ts';
import { SimulatedQueue } from './aws-simulated-sqs.ts';
import {
  bucket,
  countersTable,
  deadLetterQueueUrl,
  executeOnQueue,
  ledgerTable,
  queueUrl,
  type Backend,
  type Obstruction,
  type SimulationOptions,
} from './aws-simulation.ts';

type Input = Record<string, unknown>;

interface Answer {
  readonly Body?: { transformToByteArray(): Promise<Uint8Array> };
}

/**
 * Calls take effect in DynamoDB Local and fauxqs, through the SDK. The backend receives a sent message
 * there at once and puts it on the simulated queue, since the emulator's clock cannot be set; a
 * transaction with a simulated conflict does not reach the emulator.
 */
export class EmulatedBackend implements Backend {
  readonly queue: SimulatedQueue;
  readonly deadLetters: SimulatedQueue;
  readonly #aws: AwsEmulators;
  readonly #names: Readonly<Record<string, string>>;
  readonly #store: AwsStore;
  readonly #now: () => number;

  constructor(aws: AwsEmulators, store: AwsStore, { now, makeId }: SimulationOptions) {
    this.#aws = aws;
    this.#store = store;
    this.#now = now;
    this.queue = new SimulatedQueue(now, makeId);
    this.deadLetters = new SimulatedQueue(now, makeId);
    this.#names = {
      [countersTable]: store.countersTable,
      [ledgerTable]: store.ledgerTable,
      [bucket]: store.bucket,
      [queueUrl]: store.queueUrl,
      [deadLetterQueueUrl]: store.deadLetterQueueUrl,
    };
  }

  async execute(command: object, { obstructed, failed }: Obstruction = {}): Promise<unknown> {
    const { input } = command as { input: Input };
    if (command instanceof SendMessageBatchCommand) return this.#sendBatch(command.input, failed);
    // The messages are on the simulated queues.
    if ('QueueUrl' in input) return executeOnQueue(this, command, failed);
    const Command = command.constructor as new (input: unknown) => never;
    if (obstructed !== undefined) throw cancelled(input, obstructed);
    if (command instanceof BatchGetItemCommand) return this.#batchGet(command.input);
    const named = new Command(this.#withNames(input));
    const { dynamodb, s3 } = this.#aws;
    return 'Bucket' in input ? withBody((await s3.send(named)) as Answer) : dynamodb.send(named);
  }

  /** Here the tables' names are those of members. */
  async #batchGet({ RequestItems = {} }: BatchGetItemCommandInput): Promise<unknown> {
    const known = Object.entries(this.#names);
    const nameOf = (table: string) => this.#names[table] ?? table;
    const simulatedOf = (table: string) => known.find(([, real]) => real === table)?.[0] ?? table;
    const renamed = <T>(byTable: Record<string, T>, rename: (table: string) => string) =>
      Object.fromEntries(Object.entries(byTable).map(([table, each]) => [rename(table), each]));
    const { Responses = {}, UnprocessedKeys = {} } = await this.#aws.dynamodb.send(
      new BatchGetItemCommand({ RequestItems: renamed(RequestItems, nameOf) }),
    );
    return {
      Responses: renamed(Responses, simulatedOf),
      UnprocessedKeys: renamed(UnprocessedKeys, simulatedOf),
    };
  }

  /** Names of the store for those of the simulation, in transactions too. */
  #withNames(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((each) => this.#withNames(each));
    if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
    const isName = (name: string, each: unknown): each is string =>
      (name === 'TableName' || name === 'Bucket') && typeof each === 'string';
    return Object.fromEntries(
      Object.entries(value).map(([name, each]: [string, unknown]) => [
        name,
        isName(name, each) ? this.#names[each] : this.#withNames(each),
      ]),
    );
  }

  async #sendBatch(
    input: SendMessageBatchCommandInput,
    failed: ReadonlySet<number> = new Set(),
  ): Promise<unknown> {
    const all = input.Entries ?? [];
    const Entries = all.filter((_, at) => !failed.has(at));
    const Failed = all
      .filter((_, at) => failed.has(at))
      .map(({ Id }) => ({ Id, SenderFault: false, Code: 'InternalError' }));
    if (Entries.length === 0) return { Failed };
    const QueueUrl = this.#names[input.QueueUrl ?? ''] ?? '';
    const answer: SendMessageBatchCommandOutput = await this.#aws.sqs.send(
      new SendMessageBatchCommand({ QueueUrl, Entries }),
    );
    await this.#carry(QueueUrl, input.QueueUrl === queueUrl ? this.queue : this.deadLetters);
    return { ...answer, ...(Failed.length > 0 && { Failed }) };
  }

  async #carry(QueueUrl: string, to: SimulatedQueue): Promise<void> {
    for (;;) {
      const { Messages = [] } = await this.#aws.sqs.send(
        new ReceiveMessageCommand({
          ...{ QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: ['All'] },
        }),
      );
      if (Messages.length === 0) return;
      for (const { MessageId, Body = '', MessageAttributes = {} } of Messages) {
        const attributes = Object.entries(MessageAttributes);
        const texts = attributes.map(([name, { StringValue = '' }]) => [name, StringValue]);
        to.put(Body, Object.fromEntries(texts) as Record<string, string>, MessageId);
      }
      const Entries = Messages.map(({ ReceiptHandle }, at) => ({ Id: String(at), ReceiptHandle }));
      await this.#aws.sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
    }
  }

  counters(): Promise<readonly Item[]> {
    return scan(this.#aws.dynamodb, this.#store.countersTable);
  }

  async objects(): Promise<ReadonlyMap<string, SimulatedObject>> {
    const objects = new Map<string, SimulatedObject>();
    const Bucket = this.#store.bucket;
    const { Contents = [] } = await this.#aws.s3.send(new ListObjectsV2Command({ Bucket }));
    for (const { Key = '' } of Contents) {
      const object = await this.#aws.s3.send(new GetObjectCommand({ Bucket, Key }));
      const body = (await object.Body?.transformToByteArray()) ?? new Uint8Array();
      const { ContentEncoding: contentEncoding, Metadata: metadata = {} } = object;
      objects.set(Key, { body, contentEncoding, metadata });
    }
    return objects;
  }

  async expire(isReached: () => boolean): Promise<void> {
    const { ledgerTable: TableName } = this.#store;
    for (const row of await scan(this.#aws.dynamodb, TableName)) {
      const expiresAt = Number(row['expires_at']?.N ?? Infinity) * 1_000;
      const { id, entry } = row;
      if (expiresAt > this.#now() || id === undefined || entry === undefined) continue;
      if (!isReached()) continue;
      await this.#aws.dynamodb.send(new DeleteItemCommand({ TableName, Key: { id, entry } }));
    }
  }
}

/** The body is read here: nothing but calls is waited for in a schedule. */
async function withBody(answer: Answer): Promise<Answer> {
  if (answer.Body === undefined) return answer;
  const bytes = await answer.Body.transformToByteArray();
  return { ...answer, Body: { transformToByteArray: () => Promise.resolve(bytes) } };
}

/** DynamoDB's response to a transaction that conflicts with another one. */
function cancelled(
  { TransactItems = [] }: { TransactItems?: readonly unknown[] },
  obstructed: ReadonlyMap<number, string>,
): Error {
  return new TransactionCanceledException({
    message: 'Transaction cancelled',
    $metadata: { httpStatusCode: 400 },
    CancellationReasons: TransactItems.map((_, at) => ({ Code: obstructed.get(at) ?? 'None' })),
  });
}
