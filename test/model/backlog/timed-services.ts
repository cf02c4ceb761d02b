import { gunzipSync } from 'node:zlib';

import {
  BatchGetItemCommand,
  DeleteItemCommand,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  TransactionCanceledException,
  TransactWriteItemsCommand,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import {
  ChangeMessageVisibilityBatchCommand,
  GetQueueAttributesCommand,
  SendMessageBatchCommand,
} from '@aws-sdk/client-sqs';

import { batchIdInBlock, placeInBlock } from '../../../src/domain/batch-id.ts';
import { blockOf } from '../../../src/engines/aws/ledger/ledger-table.ts';
import type { Item } from '../simulated-aws/aws-simulated-dynamodb.ts';
import { serviceError, unknownToSimulation } from '../simulated-aws/aws-simulated-errors.ts';
import { deadLetterQueueUrl } from '../simulated-aws/aws-simulation.ts';
import type { TimedBatches } from './timed-batches.ts';
import type { TimedClock } from './timed-clock.ts';
import type { TimedMessage, TimedQueue } from './timed-queue.ts';

export type Service = 'dynamodb' | 's3' | 'sqs';

export interface Refusal {
  readonly code: string;
  /** The HTTP status. */
  readonly status: number;
}

export const unavailable: Refusal = { code: 'ServiceUnavailable', status: 503 };

/** How long calls take, in milliseconds. */
export interface Latencies {
  readonly transaction: number;
  readonly conflict: number;
  readonly call: number;
}

export interface TimedServicesOptions {
  readonly clock: TimedClock;
  readonly batches: TimedBatches;
  readonly queue: TimedQueue;
  readonly latencies: Latencies;
  /** Write units per second for all counters of a day. */
  readonly partitionUnits: number;
}

const keysOfPage = 1_000;
const batchPrefix = 'batch:';
const unitsOfWrite = 2;
/** DynamoDB's burst capacity, in seconds of unused throughput. */
const burstSeconds = 5;

/** The services of the sweep and the processor; each call takes its time. */
export class TimedServices {
  /** The services that fail now, with their errors. */
  readonly down = new Map<Service, Refusal>();
  readonly counters = new Map<string, number>();
  /** Messages in flight, by receipt handle. */
  readonly received = new Map<string, TimedMessage>();
  /** Dead letters with a reason. */
  readonly deadLettered: string[] = [];
  transactions = 0;
  conflicts = 0;
  cancelled = 0;
  /** Calls by the name of the command. */
  readonly calls = new Map<string, number>();
  readonly #options: TimedServicesOptions;
  /** Rows that belong to no batch: those of the sweep, the settings. */
  readonly #rows = new Map<string, Map<string, Item>>();
  readonly #locked = new Set<string>();
  readonly #units = new Map<string, { left: number; at: number }>();

  constructor(options: TimedServicesOptions) {
    this.#options = options;
  }

  async send(command: object): Promise<never> {
    const { clock, latencies } = this.#options;
    const name = command.constructor.name;
    this.calls.set(name, (this.calls.get(name) ?? 0) + 1);
    if (command instanceof TransactWriteItemsCommand)
      return (await this.#transact(command)) as never;
    await clock.sleep(latencies.call);
    return this.#answer(command) as never;
  }

  /** The response to a call; takes no time itself. */
  readonly peek = (command: object): Promise<object> => {
    const down = [...this.down];
    this.down.clear();
    const answer = this.#answer(command);
    for (const [service, refusal] of down) this.down.set(service, refusal);
    return Promise.resolve(answer);
  };

  #answer(command: object): object {
    if (command instanceof GetItemCommand) return this.#getItem(command.input.Key ?? {});
    if (command instanceof PutItemCommand) return this.#putItem(command.input.Item ?? {});
    if (command instanceof DeleteItemCommand) {
      this.#check('dynamodb');
      const { id, entry } = namesOf(command.input.Key ?? {});
      this.#rows.get(id)?.delete(entry);
      return {};
    }
    if (command instanceof BatchGetItemCommand) return this.#batchGet(command);
    if (command instanceof QueryCommand) return this.#query(command);
    if (command instanceof ListObjectsV2Command) return this.#list(command);
    if (command instanceof GetObjectCommand) return this.#getObject(command.input.Key ?? '');
    if (command instanceof PutObjectCommand) return this.#putGroup(command.input.Body as Buffer);
    if (command instanceof SendMessageBatchCommand) return this.#sendMessages(command);
    if (command instanceof ChangeMessageVisibilityBatchCommand) return this.#hide(command);
    if (command instanceof GetQueueAttributesCommand) {
      this.#check('sqs');
      return { Attributes: { ApproximateNumberOfMessages: String(this.#options.queue.depth) } };
    }
    throw unknownToSimulation(command.constructor.name);
  }

  #check(service: Service): void {
    const refusal = this.down.get(service);
    if (refusal !== undefined) throw serviceError(refusal.code, refusal.status);
  }

  #getItem(key: Item): object {
    this.#check('dynamodb');
    const Item = this.#itemOf(key);
    return Item === undefined ? {} : { Item };
  }

  #itemOf(key: Item): Item | undefined {
    const { id, entry } = namesOf(key);
    const block = blockOf(id);
    if (block !== undefined) return this.#blockItem(key, block);
    if (!id.startsWith(batchPrefix)) return this.#rows.get(id)?.get(entry);
    const { batches } = this.#options;
    const batch = batches.numberOf(id);
    if (entry === 'batch') return batches.has(batch, 'row') ? this.#rowOf(batch) : undefined;
    return entry === 'chunk:000000' && batches.has(batch, 'counted')
      ? { ...key, items: { N: '1' } }
      : undefined;
  }

  #blockItem(key: Item, block: string): Item | undefined {
    const { batches } = this.#options;
    const counted = batches.inBlock(block).filter((batch) => batches.has(batch, 'counted'));
    const numbers = counted.map((batch) => String(placeInBlock(batches.idOf(batch))?.number));
    return numbers.length === 0 ? undefined : { ...key, numbers: { NS: numbers } };
  }

  #rowOf(batch: number): Item {
    const { batches } = this.#options;
    const replayedAt = batches.replayedAt(batch);
    const queuedAt = batches.queuedAt(batch);
    return {
      ...{ id: { S: batchPrefix + batches.idOf(batch) }, entry: { S: 'batch' } },
      ...{ chunks: { N: '1' }, received_at: { N: String(batches.receivedAt(batch)) } },
      ...(replayedAt !== undefined && { replayed_at: { N: String(replayedAt) } }),
      ...(queuedAt !== undefined && { queued_at: { N: String(queuedAt) } }),
    };
  }

  #putItem(item: Item): object {
    this.#check('dynamodb');
    const { id, entry } = namesOf(item);
    if (id.startsWith(batchPrefix)) {
      const { batches } = this.#options;
      if (entry === 'batch') {
        batches.set(batches.numberOf(id), 'row');
        batches.queue(batches.numberOf(id), Number(item['queued_at']?.N));
      }
      return {};
    }
    const rows = this.#rows.get(id) ?? new Map<string, Item>();
    this.#rows.set(id, rows.set(entry, item));
    return {};
  }

  #batchGet({ input: { RequestItems = {} } }: BatchGetItemCommand): object {
    this.#check('dynamodb');
    const answers = Object.entries(RequestItems).map(([table, { Keys = [] }]) => [
      table,
      Keys.map((key) => this.#itemOf(key)).filter((item) => item !== undefined),
    ]);
    return { Responses: Object.fromEntries(answers) as object };
  }

  #query({ input }: QueryCommand): object {
    this.#check('dynamodb');
    const values = input.ExpressionAttributeValues ?? {};
    const id = values[':id']?.S ?? '';
    if (id.startsWith(batchPrefix)) {
      const entries = ['batch', 'chunk:000000'];
      const items = entries.map((entry) => this.#itemOf({ id: { S: id }, entry: { S: entry } }));
      return { Items: items.filter((item) => item !== undefined) };
    }
    const prefix = values[':orphan']?.S ?? values[':entry']?.S ?? '';
    const due = Number(values[':due']?.N ?? Infinity);
    const found = [...(this.#rows.get(id) ?? [])]
      .filter(([entry, item]) => entry.startsWith(prefix) && !(Number(item['next_at']?.N) > due))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, item]) => item);
    return { Items: found.slice(0, input.Limit ?? found.length) };
  }

  async #transact({ input: { TransactItems = [] } }: TransactWriteItemsCommand): Promise<object> {
    const { clock, latencies } = this.#options;
    this.transactions++;
    const names = TransactItems.map(nameOfWrite);
    if (names.some((name) => this.#locked.has(name))) {
      this.conflicts++;
      const met = new Set(names.filter((name) => this.#locked.has(name)));
      await clock.sleep(latencies.conflict);
      throw cancelledFor(names, (name) => (met.has(name) ? 'TransactionConflict' : 'None'));
    }
    if (!this.#takeUnits(TransactItems)) {
      await clock.sleep(latencies.conflict);
      throw cancelledFor(names, () => 'ThrottlingError');
    }
    for (const name of names) this.#locked.add(name);
    await clock.sleep(latencies.transaction);
    for (const name of names) this.#locked.delete(name);
    this.#check('dynamodb');
    const { batches } = this.#options;
    const isThere = (write: TransactWriteItem) =>
      this.#batchesOf(write).some((batch) => batches.has(batch, 'counted'));
    if (TransactItems.some(isThere)) {
      this.cancelled++;
      throw new TransactionCanceledException({
        ...{ $metadata: { httpStatusCode: 400 }, message: 'repeated' },
        CancellationReasons: TransactItems.map((write) => {
          if (!isThere(write)) return { Code: 'None' };
          const row = write.Update?.Key && this.#itemOf(write.Update.Key);
          return { Code: 'ConditionalCheckFailed', ...(row && { Item: row }) };
        }),
      });
    }
    for (const write of TransactItems) this.#write(write);
    return {};
  }

  /** The batches whose dedup records a write adds. */
  #batchesOf({ Put, Update }: TransactWriteItem): number[] {
    const { batches } = this.#options;
    if (Put?.Item !== undefined) return [batches.numberOf(namesOf(Put.Item).id)];
    const block = blockOf(Update?.Key?.['id']?.S ?? '');
    const { NS: numbers = [] } = Update?.ExpressionAttributeValues?.[':numbers'] ?? {};
    if (block === undefined) return [];
    return numbers.map((number) =>
      batches.numberOf(batchIdInBlock({ block, number: Number(number) })),
    );
  }

  /** Whether the partitions of the days accept the writes now. */
  #takeUnits(writes: readonly TransactWriteItem[]): boolean {
    const { clock, partitionUnits } = this.#options;
    const wanted = new Map<string, number>();
    for (const { Update } of writes) {
      const date = Update?.Key?.['date']?.S;
      if (date !== undefined) wanted.set(date, (wanted.get(date) ?? 0) + unitsOfWrite);
    }
    for (const [date, units] of wanted) {
      const seconds = (clock.now - (this.#units.get(date)?.at ?? 0)) / 1000;
      const saved = (this.#units.get(date)?.left ?? Infinity) + seconds * partitionUnits;
      const left = Math.min(burstSeconds * partitionUnits, saved);
      this.#units.set(date, { left, at: clock.now });
      if (left < units) return false;
    }
    for (const [date, units] of wanted) {
      const { left, at } = this.#units.get(date) ?? { left: 0, at: clock.now };
      this.#units.set(date, { left: left - units, at });
    }
    return true;
  }

  #write(write: TransactWriteItem): void {
    const { batches } = this.#options;
    for (const batch of this.#batchesOf(write)) {
      if (batches.areCarried && !batches.has(batch, 'kept'))
        throw new Error('its body is not stored');
      batches.set(batch, 'counted');
    }
    const { Key, ExpressionAttributeValues: values } = write.Update ?? {};
    const date = Key?.['date']?.S;
    if (date === undefined) return;
    const name = `${date} ${Key?.['type_state']?.S ?? ''}`;
    const count = Number(values?.[':count']?.N);
    this.counters.set(name, (this.counters.get(name) ?? 0) + count);
  }

  #list({ input }: ListObjectsV2Command): object {
    this.#check('s3');
    const { batches } = this.#options;
    if (batches.areCarried) return {};
    const { StartAfter = '', ContinuationToken = StartAfter } = input;
    const first = batches.firstAfter(ContinuationToken);
    const last = Math.min(batches.size, first + keysOfPage);
    const Contents = [];
    for (let batch = first; batch < last; batch++) {
      Contents.push({ Key: batches.rawKeyOf(batch), Size: 100 });
    }
    return {
      Contents,
      ...(last < batches.size && { NextContinuationToken: Contents.at(-1)?.Key }),
    };
  }

  #getObject(key: string): object {
    this.#check('s3');
    const { batches } = this.#options;
    const batch = batches.numberOfKey(key);
    const replayedAt = batches.replayedAt(batch);
    const body = batches.body(batch);
    return {
      Body: { transformToByteArray: () => Promise.resolve(body) },
      Metadata: {
        ...{ accepted: '1', rejected: '0' },
        ...(replayedAt !== undefined && { 'replayed-at': new Date(replayedAt).toISOString() }),
      },
    };
  }

  #putGroup(body: Buffer): object {
    this.#check('s3');
    const { batches } = this.#options;
    for (const line of gunzipSync(body).toString().split('\n').slice(0, -1)) {
      const { raw_key: rawKey } = JSON.parse(line) as { raw_key: string };
      batches.set(batches.numberOfKey(rawKey), 'kept');
    }
    return {};
  }

  #sendMessages({ input: { QueueUrl, Entries = [] } }: SendMessageBatchCommand): object {
    this.#check('sqs');
    const { batches, queue } = this.#options;
    for (const { MessageBody = '', MessageAttributes = {} } of Entries) {
      if (QueueUrl === deadLetterQueueUrl) {
        this.deadLettered.push(MessageAttributes['reason']?.StringValue ?? '');
        continue;
      }
      const { batch_id: batchId } = JSON.parse(MessageBody) as { batch_id: string };
      queue.send(batches.numberOf(batchId));
    }
    return { Successful: Entries.map(({ Id }) => ({ Id })) };
  }

  #hide({ input: { Entries = [] } }: ChangeMessageVisibilityBatchCommand): object {
    this.#check('sqs');
    for (const { ReceiptHandle = '', VisibilityTimeout = 0 } of Entries) {
      const message = this.received.get(ReceiptHandle);
      if (message !== undefined) this.#options.queue.hide([message], VisibilityTimeout * 1_000);
    }
    return {};
  }
}

function namesOf(item: Item): { id: string; entry: string } {
  return { id: item['id']?.S ?? '', entry: item['entry']?.S ?? '' };
}

function nameOfWrite({ Put, Update }: TransactWriteItem): string {
  const key = Put?.Item ?? Update?.Key ?? {};
  return `${key['id']?.S ?? key['date']?.S ?? ''} ${key['entry']?.S ?? key['type_state']?.S ?? ''}`;
}

function cancelledFor(
  names: readonly string[],
  codeOf: (name: string) => string,
): TransactionCanceledException {
  return new TransactionCanceledException({
    ...{ $metadata: { httpStatusCode: 400 }, message: 'cancelled' },
    CancellationReasons: names.map((name) => ({ Code: codeOf(name) })),
  });
}
