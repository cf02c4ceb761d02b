import { randomBytes } from 'node:crypto';

import {
  ChangeMessageVisibilityCommand,
  DeleteMessageCommand,
  ReceiveMessageCommand,
  type Message,
} from '@aws-sdk/client-sqs';

import { batchIdMaker } from '../../../src/domain/batch-id.ts';
import { countersPerDayMaxDefault } from '../../../src/domain/day-bound.ts';
import { dayRule } from '../../../src/domain/day.ts';
import { awsCountingPorts } from '../../../src/engines/aws/counters/counting-ports.ts';
import { awsIntake } from '../../../src/engines/aws/intake/intake.ts';
import { awsReplayIntake } from '../../../src/engines/aws/intake/replay-intake.ts';
import { awsSweepPorts } from '../../../src/engines/aws/intake/sweep-ports.ts';
import type { Backoff } from '../../../src/util/backoff.ts';
import {
  forEachDeadLetter,
  type PassOptions,
  type StoredDeadLetter,
} from '../../../src/engines/aws/dead-letters/dead-letter-pass.ts';
import { CounterAdmission } from '../../../src/engines/aws/counters/counter-admission.ts';
import { DynamodbBatchRecords } from '../../../src/engines/aws/ledger/batch-records.ts';
import { dynamodbCounterStore } from '../../../src/engines/aws/counters/counter-store.ts';
import { deadLetterOnce } from '../../../src/engines/aws/dead-letters/dead-letter-once.ts';
import { dynamodbReceipts } from '../../../src/engines/aws/ledger/receipts.ts';
import { dynamodbSweepProgress } from '../../../src/engines/aws/ledger/sweep-progress.ts';
import { s3BodyGroups } from '../../../src/engines/aws/intake/body-groups.ts';
import type { KeyRange } from '../../../src/engines/aws/intake/list-objects.ts';
import { s3RawBatches } from '../../../src/engines/aws/intake/raw-batches.ts';
import { s3RawStore, type S3RawStore } from '../../../src/engines/aws/intake/raw-store.ts';
import { rawOfCarried } from '../../../src/engines/aws/verify/audit-groups.ts';
import { carriedIn } from '../../../src/pipeline/chunks/dead-letter-content.ts';
import { sqsChunkQueue } from '../../../src/engines/aws/queue/chunk-queue.ts';
import { deadLetterQueue } from '../../../src/engines/aws/dead-letters/dead-letter-queue.ts';
import { countMessages, type QueueMessage } from '../../../src/pipeline/counting/count-messages.ts';
import { sweep, sweepBatch } from '../../../src/pipeline/sweep/sweep.ts';
import type { SweepResult, SweepRules } from '../../../src/pipeline/sweep/ports.ts';
import type { AwsEmulators, AwsStore } from './aws-store.ts';

/** Decides what happens to a call: throws, before or after `proceed`, or lets it pass. */
export type Fault = (command: string, proceed: () => Promise<unknown>) => Promise<unknown>;

export interface AwsEngineOptions {
  readonly itemsPerMessage?: number;
  readonly keepMs?: number;
  readonly attemptsMax?: number;
  readonly countersPerDayMax?: number;
  /** Whether messages of small batches carry their bodies. */
  readonly carriesBodies?: boolean;
}

const dayMs = 86_400_000;

/**
 * The adapters of the AWS engine with a clock of their own, and with faults between them and AWS.
 */
export class AwsEngine {
  now: number;
  /** Intercepts every call, if it is set. */
  fault: Fault | undefined;
  /** The results for batches that could not be swept. */
  onSweepFailure: SweepRules['onFailure'] = (error) => {
    throw error;
  };
  readonly keepMs: number;
  readonly store: AwsStore;
  readonly intake;
  readonly replayIntake;
  readonly rawStore;
  readonly groups;
  readonly receipts;
  readonly deadLetters;
  readonly counterStore;
  readonly #aws: AwsEmulators;
  readonly #sqs;
  readonly #ports;
  readonly #parking;
  readonly #ledger;
  readonly #repeats = { expectedUntil: 0 };

  constructor(aws: AwsEmulators, store: AwsStore, now: number, options: AwsEngineOptions = {}) {
    this.#aws = aws;
    this.store = store;
    this.now = now;
    this.keepMs = options.keepMs ?? 90 * dayMs;
    const { countersTable, ledgerTable } = store;
    const dynamodb = this.#faulty(aws.dynamodb);
    this.#sqs = this.#faulty(aws.sqs);
    const clock = () => this.now;
    const backoff: Backoff = {
      attemptsMax: options.attemptsMax ?? 3,
      delayMsMax: 0,
      deadline: Number.POSITIVE_INFINITY,
      now: clock,
      sleep: () => Promise.resolve(),
      random: () => 0,
    };
    const ledger = { client: dynamodb, ledgerTable, keepMs: this.keepMs, now: clock };
    const records = new DynamodbBatchRecords(ledger);
    const queue = sqsChunkQueue({ client: this.#sqs, queueUrl: store.queueUrl, backoff });
    const source = { client: this.#sqs, queueUrl: store.deadLetterQueueUrl, backoff };
    this.rawStore = s3RawStore(this.#faulty(aws.s3), store.bucket);
    this.groups = s3BodyGroups(this.#faulty(aws.s3), store.bucket);
    this.#ledger = {
      client: dynamodb,
      ledgerTable,
      backoff,
      storing: backoff,
      groups: this.groups,
    };
    this.deadLetters = { ...deadLetterQueue(source), list: () => this.#listDeadLetters() };
    this.receipts = dynamodbReceipts(ledger);
    this.counterStore = dynamodbCounterStore({ ...ledger, countersTable, backoff });
    this.#parking = deadLetterOnce(this.deadLetters, ledger);
    this.intake = awsIntake({
      records,
      rawStore: this.rawStore,
      queue,
      itemsPerMessage: options.itemsPerMessage ?? Number.POSITIVE_INFINITY,
      admission: new CounterAdmission({
        client: dynamodb,
        countersTable,
        countersPerDayMax: options.countersPerDayMax ?? countersPerDayMaxDefault,
        dayOf: dayRule('as-written'),
        now: clock,
      }),
      dayOf: dayRule('as-written'),
      makeBatchId: batchIdMaker(randomBytes),
      now: clock,
      onFailure: () => undefined,
      carriesBodies: options.carriesBodies ?? false,
      shortestRetentionMs: () => Promise.resolve(this.keepMs),
    });
    this.replayIntake = awsReplayIntake({
      records,
      rawStore: this.rawStore,
      groups: this.groups,
      queue,
      orphans: dynamodbSweepProgress(dynamodb, ledgerTable),
      itemsPerMessage: options.itemsPerMessage ?? Number.POSITIVE_INFINITY,
      dayOf: dayRule('as-written'),
      now: clock,
      shortestRetentionMs: () => Promise.resolve(this.keepMs),
      redriveMarginMs: 7 * dayMs,
      onFailure: () => undefined,
    });
    this.#ports = awsSweepPorts({
      ledger,
      rawStore: this.rawStore,
      queue,
      ...{ sqs: this.#sqs, queueUrl: store.queueUrl, backoff },
      deadLetters: this.#parking,
      width: 8,
    });
  }

  /**
   * Stores the bodies that messages on the queue carry and leaves the messages there, as a processor that
   * is killed before it counts; without injected faults.
   */
  async storeCarried(): Promise<void> {
    const { sqs, s3 } = this.#aws;
    const { queueUrl: QueueUrl, bucket } = this.store;
    const received: Message[] = [];
    for (let isMore = true; isMore;) {
      const request = { QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: 60 };
      const { Messages = [] } = await sqs.send(new ReceiveMessageCommand(request));
      received.push(...Messages);
      isMore = Messages.length > 0;
    }
    const carried = received.flatMap(({ Body = '' }) => carriedIn(Body) ?? []);
    if (carried.length > 0) await s3BodyGroups(s3, bucket).put(carried);
    for (const { ReceiptHandle } of received) {
      const request = { QueueUrl, ReceiptHandle, VisibilityTimeout: 0 };
      await sqs.send(new ChangeMessageVisibilityCommand(request));
    }
  }

  /** The raw bodies of both forms, also those that only a message has. */
  get bodies(): Pick<S3RawStore, 'get' | 'keys'> {
    const { s3 } = this.#aws;
    const { bucket } = this.store;
    const [objects, groups] = [s3RawStore(s3, bucket), s3BodyGroups(s3, bucket)];
    const batches = s3RawBatches(s3, bucket);
    return {
      get: async (rawKey) => {
        await this.storeCarried();
        const carried = await groups.find(rawKey);
        return carried === undefined ? await objects.get(rawKey) : rawOfCarried(carried);
      },
      keys: async function* (this: AwsEngine, { after, before }: KeyRange) {
        await this.storeCarried();
        for await (const page of batches.list({ from: 0, to: Number.MAX_SAFE_INTEGER })) {
          const rawKeys = page.flatMap((each) => ('rawKey' in each ? [each.rawKey] : []));
          yield rawKeys.filter((key) => key > after && (before === undefined || key < before));
        }
      }.bind(this),
    };
  }

  /** Counts what is queued; returns the number of messages. */
  async process(): Promise<number> {
    let received = 0;
    for (;;) {
      const { Messages: messages = [] } = await this.#sqs.send(
        new ReceiveMessageCommand({
          QueueUrl: this.store.queueUrl,
          MaxNumberOfMessages: 10,
          MessageAttributeNames: ['All'],
          MessageSystemAttributeNames: ['All'],
        }),
      );
      if (messages.length === 0) return received;
      received += messages.length;
      const inputs = messages.map(
        ({ MessageId: messageId = '', Body: body = '', Attributes, MessageAttributes }) => ({
          messageId,
          originalId: MessageAttributes?.['original_message_id']?.StringValue ?? messageId,
          body,
          ...replayedAtOf(MessageAttributes?.['replayed_at']?.StringValue),
          sentAt: timeOf(MessageAttributes?.['original_sent_at']?.StringValue) ?? this.now,
          receives: Number(Attributes?.ApproximateReceiveCount),
          firstFailedAt: timeOf(MessageAttributes?.['first_failed_at']?.StringValue),
        }),
      );
      const left = await this.count(inputs);
      for (const [at, { ReceiptHandle }] of messages.entries()) {
        if (left.has(inputs[at] as QueueMessage)) continue;
        const QueueUrl = this.store.queueUrl;
        await this.#sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
      }
    }
  }

  /** Counts the given messages; returns those to be delivered again. */
  count(messages: readonly QueueMessage[]): Promise<ReadonlySet<QueueMessage>> {
    return countMessages(
      messages,
      awsCountingPorts(this.counterStore, this.#parking, this.#ledger),
      {
        dayOf: dayRule('as-written'),
        now: () => this.now,
        deadline: Number.POSITIVE_INFINITY,
        ageMsMax: this.keepMs - 7 * dayMs,
        receivesMax: 5,
        repeats: this.#repeats,
      },
    );
  }

  /** @param afterMs the age at which a batch is swept. */
  sweep(afterMs = 15 * 60_000): Promise<SweepResult> {
    return sweep(this.#ports, this.#sweepRules(afterMs));
  }

  #sweepRules(afterMs: number): SweepRules {
    return {
      dayOf: dayRule('as-written'),
      now: () => this.now,
      afterMs,
      ageMsMax: this.keepMs - 7 * dayMs,
      keepMs: this.keepMs,
      deadline: Number.POSITIVE_INFINITY,
      onFailure: (error, rawKey) => this.onSweepFailure(error, rawKey),
      onForgotten: () => undefined,
    };
  }

  /** As a redrive of the dead letter of a whole batch does. */
  sweepBatch(rawKey: string): Promise<string | undefined> {
    return sweepBatch(rawKey, this.#ports, this.#sweepRules(0));
  }

  /** Iterates over the dead-letter queue. */
  pass(limit = 1_000): PassOptions {
    const { deadLetterQueueUrl: queueUrl } = this.store;
    // The emulator's own clock decides how long messages are hidden.
    return { client: this.#sqs, queueUrl, now: () => this.now, limit, waitSeconds: 0 };
  }

  async #listDeadLetters(): Promise<StoredDeadLetter[]> {
    const deadLetters: StoredDeadLetter[] = [];
    await forEachDeadLetter(this.pass(), (page) => {
      deadLetters.push(...page);
      return Promise.resolve(new Set());
    });
    return deadLetters;
  }

  #faulty<C extends { send(command: never): unknown }>(client: C): Pick<C, 'send'> {
    const send = (command: object) => {
      const proceed = () => client.send(command as never) as Promise<unknown>;
      return this.fault === undefined
        ? proceed()
        : this.fault(command.constructor.name.replace(/Command$/, ''), proceed);
    };
    return { send };
  }
}

function timeOf(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Date.parse(text);
}

function replayedAtOf(text: string | undefined): { replayedAt?: number } {
  return text === undefined ? {} : { replayedAt: Date.parse(text) };
}

/** An error as the SDK throws it. */
export function awsError(name: string, status: number): Error {
  return Object.assign(new Error(`${name}: simulated`), {
    name,
    $metadata: { httpStatusCode: status },
  });
}
