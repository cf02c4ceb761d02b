import { setTimeout as delay } from 'node:timers/promises';

import { DeleteMessageBatchCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';

import { Slots } from '../../../src/client/slots.ts';
import { clientSettings } from '../client-settings.ts';
import { createDisorder, type Disorder, type DisorderOptions } from '../emulators/disorder.ts';
import { invocationFailure, payloadBytesMax, type InvocationResult } from './lambda-runtime.ts';
import type { EventSourceDescription } from '../template/stack-description.ts';
import { recordsDone, sqsRecord, type SqsRecord } from './sqs-event.ts';

/** Lambda starts with five pollers, whatever the maximum concurrency is. Each collects its own batch. */
const pollersDefault = 5;
const longPollSeconds = 20;
const retryMs = 500;
/** The maximum size of the JSON around the records, in bytes. */
const envelopeBytes = 64;

export interface SqsPollerOptions {
  readonly eventSource: EventSourceDescription;
  readonly endpoint: string;
  readonly region: string;
  readonly invoke: (
    payload: string,
    options: { killAfterMs: number | undefined },
  ) => Promise<InvocationResult>;
  readonly disorder?: DisorderOptions | undefined;
  /** Nothing is received before it resolves. */
  readonly startsAfter?: Promise<unknown> | undefined;
  /** How many pollers there are at the start; default 5, as on AWS. */
  readonly pollers?: number;
  /** Called for each batch that failed as a whole or in part, and for failed calls to the queue. */
  readonly onTrouble?: ((text: string) => void) | undefined;
}

/** Emulates Lambda's event source for SQS: receives, batches, invokes and deletes successful messages. */
export class SqsPoller {
  readonly #options: SqsPollerOptions;
  readonly #client: SQSClient;
  readonly #stopping = new AbortController();
  readonly #disorder: Disorder;
  readonly #loops: Promise<void>[];
  readonly #pollers: number;
  /** Limits the invocations at a time. */
  readonly #slots: Slots;

  constructor(options: SqsPollerOptions) {
    this.#options = options;
    this.#client = new SQSClient(clientSettings(options.endpoint, options.region, 'eventsource'));
    this.#disorder = createDisorder(options.disorder);
    this.#pollers = options.pollers ?? pollersDefault;
    const { concurrencyMax } = options.eventSource;
    this.#slots = new Slots(concurrencyMax);
    // A loop batches, invokes and deletes, one batch after the other, within the maximum concurrency.
    // Only the first few loops use long polls.
    const length = Math.max(this.#pollers, concurrencyMax);
    this.#loops = Array.from({ length }, (_, index) => this.#loop(index));
  }

  /** Stops receiving, and resolves when all received messages are processed. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
    this.#client.destroy();
  }

  /** Further loops start when the first few are always busy: see `#waitForNeed`. */
  async #loop(index: number): Promise<void> {
    const stopped = new Promise((resolve) =>
      this.#stopping.signal.addEventListener('abort', resolve),
    );
    await Promise.race([this.#options.startsAfter, stopped]);
    while (!this.#isStopping) {
      if (index >= this.#pollers && !(await this.#waitForNeed())) continue;
      try {
        const records = await this.#gather();
        if (records.length > 0) await this.#deliver(records);
      } catch (error) {
        if (this.#stopping.signal.aborted) return;
        this.#tell(`the queue did not respond: ${String(error)}`);
        await this.#pause(retryMs);
      }
    }
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  #busy = 0;

  /** Lambda adds pollers while the existing ones cannot keep up. */
  async #waitForNeed(): Promise<boolean> {
    if (this.#busy >= this.#pollers) return true;
    await this.#pause(100);
    return false;
  }

  /** One batch: from the first message until it is full or the window is over. */
  async #gather(): Promise<SqsRecord[]> {
    const { batchSize, windowMs } = this.#options.eventSource;
    const records = this.#disorder.takeHeldBack(batchSize);
    const waitSeconds = this.#disorder.holdsBack() ? 1 : longPollSeconds;
    if (records.length === 0) records.push(...(await this.#receive(batchSize, waitSeconds)));
    if (records.length === 0) return [];
    const end = Date.now() + windowMs;
    while (records.length < batchSize && bytesOf(records) < payloadBytesMax) {
      const leftMs = end - Date.now();
      const seconds = Math.max(0, Math.floor(leftMs / 1000));
      const received = await this.#receiveMore(batchSize - records.length, seconds);
      records.push(...received);
      if (received.length > 0) continue;
      if (leftMs <= 0 || this.#isStopping) break;
      // Long polls are in whole seconds.
      if (leftMs < 1000) await this.#pause(leftMs);
    }
    return this.#disorder.shuffled(records);
  }

  /** Messages that are already received are delivered even if the poller is stopped meanwhile. */
  async #receiveMore(most: number, waitSeconds: number): Promise<SqsRecord[]> {
    try {
      return await this.#receive(most, waitSeconds);
    } catch (error) {
      if (this.#isStopping) return [];
      throw error;
    }
  }

  async #receive(most: number, WaitTimeSeconds: number): Promise<SqsRecord[]> {
    const { queueUrl, queueArn } = this.#options.eventSource;
    const command = new ReceiveMessageCommand({
      QueueUrl: queueUrl,
      MaxNumberOfMessages: Math.min(10, most),
      WaitTimeSeconds,
      MessageSystemAttributeNames: ['All'],
      MessageAttributeNames: ['All'],
    });
    // A new signal for each call, so that listeners do not accumulate on the long-lived one.
    const abortSignal = AbortSignal.any([this.#stopping.signal]);
    const { Messages = [] } = await this.#client.send(command, { abortSignal });
    const { region } = this.#options;
    const records = Messages.map((message) => sqsRecord(message, queueArn, region));
    return records.flatMap((record) => this.#disorder.repeated(record));
  }

  /** Splits deliveries so that no event is larger than Lambda's limit. */
  async #deliver(records: readonly SqsRecord[]): Promise<void> {
    this.#busy++;
    try {
      for (const batch of batchesOf(records)) {
        await this.#slots.run(() => this.#invoke(batch));
      }
    } finally {
      this.#busy--;
    }
  }

  async #invoke(records: readonly SqsRecord[]): Promise<void> {
    const { eventSource, invoke } = this.#options;
    const began = Date.now();
    const killAfterMs = this.#disorder.killAfterMs();
    const result = await invoke(JSON.stringify({ Records: records }), { killAfterMs });
    if (killAfterMs === undefined) this.#disorder.noteDuration(Date.now() - began);
    if (result.kind !== 'succeeded') {
      // Delete nothing: the messages become visible again after the timeout.
      this.#tell(`a batch of ${records.length} failed: ${invocationFailure(result)}`);
      return;
    }
    const done = recordsDone(records, result.payload, eventSource.reportsItemFailures);
    if (done.length < records.length) {
      this.#tell(
        `${records.length - done.length} of ${records.length} messages will be delivered again`,
      );
    }
    await this.#delete(done);
  }

  /** A message that cannot be deleted is delivered again, as on AWS. */
  async #delete(records: readonly SqsRecord[]): Promise<void> {
    const handles = [...new Set(records.map(({ receiptHandle }) => receiptHandle))];
    for (let index = 0; index < handles.length; index += 10) {
      const Entries = handles
        .slice(index, index + 10)
        .map((ReceiptHandle, entry) => ({ Id: String(entry), ReceiptHandle }));
      const QueueUrl = this.#options.eventSource.queueUrl;
      try {
        await this.#client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
      } catch (error) {
        this.#tell(`${Entries.length} messages could not be deleted: ${String(error)}`);
      }
    }
  }

  #tell(text: string): void {
    this.#options.onTrouble?.(text);
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }
}

function bytesOf(records: readonly SqsRecord[]): number {
  return records.reduce((sum, record) => sum + recordBytes(record), envelopeBytes);
}

const sizes = new WeakMap<SqsRecord, number>();

function recordBytes(record: SqsRecord): number {
  const known = sizes.get(record);
  if (known !== undefined) return known;
  const bytes = Buffer.byteLength(JSON.stringify(record)) + 1;
  sizes.set(record, bytes);
  return bytes;
}

function* batchesOf(records: readonly SqsRecord[]): Generator<SqsRecord[]> {
  let batch: SqsRecord[] = [];
  let bytes = envelopeBytes;
  for (const record of records) {
    const more = recordBytes(record);
    if (batch.length > 0 && bytes + more > payloadBytesMax) {
      yield batch;
      batch = [];
      bytes = envelopeBytes;
    }
    batch.push(record);
    bytes += more;
  }
  if (batch.length > 0) yield batch;
}
