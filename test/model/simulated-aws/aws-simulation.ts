import {
  BatchGetItemCommand,
  DeleteItemCommand,
  DescribeTableCommand,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  ScanCommand,
  TransactGetItemsCommand,
  TransactWriteItemsCommand,
} from '@aws-sdk/client-dynamodb';
import {
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
} from '@aws-sdk/client-sqs';

import { SimulatedDynamodb, type Item } from './aws-simulated-dynamodb.ts';
import { serviceError, unknownToSimulation } from './aws-simulated-errors.ts';
import { SimulatedS3, type SimulatedObject } from './aws-simulated-s3.ts';
import { SimulatedQueue } from './aws-simulated-sqs.ts';

export const countersTable = 'counters';
export const ledgerTable = 'ledger';
export const bucket = 'raw-bodies';
export const queueUrl = 'https://sqs.local/queue';
export const deadLetterQueueUrl = 'https://sqs.local/dead-letters';

/** Faults of a call within the service. */
export interface Obstruction {
  /** Codes by the index of the write in the transaction. */
  readonly obstructed?: ReadonlyMap<number, string>;
  /** Indexes of the entries that SQS refuses. */
  readonly failed?: ReadonlySet<number>;
}

/** Where calls take effect: the simulated AWS, or the emulators. */
export interface Backend {
  readonly queue: SimulatedQueue;
  readonly deadLetters: SimulatedQueue;
  /** Carries out the command, or throws the error of the service. */
  execute(command: object, obstruction?: Obstruction): unknown;
  counters(): Promise<readonly Item[]>;
  objects(): Promise<ReadonlyMap<string, SimulatedObject>>;
  /** Removes the expired ledger rows for which `isReached` holds. */
  expire(isReached: () => boolean): Promise<void>;
}

export interface SimulationOptions {
  readonly now: () => number;
  readonly makeId: () => string;
  readonly pageItems?: number;
  readonly pageKeys?: number;
}

/** An AWS in memory: one account, with one store of ours. No call takes time. */
export class AwsSimulation implements Backend {
  readonly dynamodb: SimulatedDynamodb;
  readonly s3: SimulatedS3;
  readonly queue: SimulatedQueue;
  readonly deadLetters: SimulatedQueue;
  readonly #now: () => number;

  constructor({ now, makeId, pageItems, pageKeys }: SimulationOptions) {
    const tables = {
      [countersTable]: { partition: 'date', sort: 'type_state' },
      [ledgerTable]: { partition: 'id', sort: 'entry' },
    };
    this.#now = now;
    this.dynamodb = new SimulatedDynamodb(tables, now, pageItems);
    this.s3 = new SimulatedS3(pageKeys);
    this.queue = new SimulatedQueue(now, makeId);
    this.deadLetters = new SimulatedQueue(now, makeId);
  }

  execute(command: object, { obstructed, failed }: Obstruction = {}): unknown {
    const { dynamodb, s3 } = this;
    if (command instanceof TransactWriteItemsCommand) {
      return dynamodb.transactWriteItems(command.input, obstructed);
    }
    if (command instanceof PutItemCommand) return dynamodb.putItem(command.input);
    if (command instanceof GetItemCommand) return dynamodb.getItem(command.input);
    if (command instanceof QueryCommand) return dynamodb.query(command.input);
    if (command instanceof DeleteItemCommand) return dynamodb.deleteItem(command.input);
    if (command instanceof ScanCommand) return dynamodb.scan(command.input);
    if (command instanceof BatchGetItemCommand) return dynamodb.batchGetItem(command.input);
    if (command instanceof TransactGetItemsCommand) return dynamodb.transactGetItems(command.input);
    if (command instanceof DescribeTableCommand) return dynamodb.describeTable(command.input);
    if (command instanceof PutObjectCommand) return s3.putObject(command.input);
    if (command instanceof HeadObjectCommand) return s3.headObject(command.input);
    if (command instanceof GetObjectCommand) return s3.getObject(command.input);
    if (command instanceof ListObjectsV2Command) return s3.listObjectsV2(command.input);
    return executeOnQueue(this, command, failed);
  }

  counters(): Promise<readonly Item[]> {
    return Promise.resolve(this.dynamodb.tables.get(countersTable)?.items() ?? []);
  }

  objects(): Promise<ReadonlyMap<string, SimulatedObject>> {
    return Promise.resolve(this.s3.objects);
  }

  expire(isReached: () => boolean): Promise<void> {
    const ledger = this.dynamodb.tables.get(ledgerTable);
    for (const row of ledger?.items() ?? []) {
      const expiresAt = Number(row['expires_at']?.N ?? Infinity) * 1_000;
      if (expiresAt <= this.#now() && isReached()) ledger?.delete(row);
    }
    return Promise.resolve();
  }
}

/** `failed`: the indexes of the entries that SQS refuses. */
export function executeOnQueue(
  { queue, deadLetters }: Pick<Backend, 'queue' | 'deadLetters'>,
  command: object,
  failed?: ReadonlySet<number>,
): unknown {
  const queueAt = (url: string | undefined) => {
    if (url === queueUrl) return queue;
    if (url === deadLetterQueueUrl) return deadLetters;
    throw serviceError('QueueDoesNotExist', 400);
  };
  if (command instanceof SendMessageBatchCommand) {
    return queueAt(command.input.QueueUrl).sendMessageBatch(command.input, failed);
  }
  if (command instanceof ReceiveMessageCommand) {
    return queueAt(command.input.QueueUrl).receiveMessage(command.input);
  }
  if (command instanceof DeleteMessageBatchCommand) {
    return queueAt(command.input.QueueUrl).deleteMessageBatch(command.input);
  }
  if (command instanceof ChangeMessageVisibilityBatchCommand) {
    return queueAt(command.input.QueueUrl).changeMessageVisibilityBatch(command.input);
  }
  if (command instanceof GetQueueAttributesCommand) {
    return queueAt(command.input.QueueUrl).getQueueAttributes(command.input);
  }
  throw unknownToSimulation(command.constructor.name);
}
