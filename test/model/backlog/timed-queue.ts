import type { QueueMessage } from '../../../src/pipeline/counting/count-messages.ts';
import type { Random } from '../simulated-aws/aws-random.ts';
import type { TimedBatches } from './timed-batches.ts';
import type { TimedClock } from './timed-clock.ts';

export interface TimedMessage {
  readonly id: string;
  readonly batch: number;
  readonly sentAt: number;
  receives: number;
  isDeleted: boolean;
  /** When it becomes visible; milliseconds since 1970. */
  visibleAt: number;
}

export interface QueueOptions {
  readonly clock: TimedClock;
  readonly random: Random;
  readonly batches: TimedBatches;
  readonly visibilityMs: number;
  readonly receivesMax: number;
}

/** A message that was received so often goes to the end of the queue, and the metric omits it. */
const seenReceivesMax = 3;
/** SQS delivers messages roughly in order. */
const disorder = 50;

/** A standard queue of SQS with its dead-letter queue. */
export class TimedQueue {
  readonly #options: QueueOptions;
  #visible: TimedMessage[] = [];
  #first = 0;
  #hidden = 0;
  #made = 0;
  /** Messages that were received too often, or that the processor dead-lettered. */
  readonly dead: TimedMessage[] = [];

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** Visible messages and messages in flight. */
  get depth(): number {
    return this.waiting + this.#hidden;
  }

  get waiting(): number {
    return this.#visible.length - this.#first;
  }

  /** When the oldest message was sent that SQS's metric of its age sees; undefined if there is none. */
  get oldestSentAt(): number | undefined {
    let oldest: number | undefined;
    for (let at = this.#first; at < this.#visible.length; at++) {
      const { sentAt, receives } = this.#visible[at] as TimedMessage;
      if (receives < seenReceivesMax && sentAt < (oldest ?? Infinity)) oldest = sentAt;
    }
    return oldest;
  }

  send(batch: number): void {
    const { now } = this.#options.clock;
    const id = `m${++this.#made}`;
    this.#visible.push({ id, batch, sentAt: now, receives: 0, isDeleted: false, visibleAt: now });
  }

  /** Receives up to this many messages and hides them for the visibility timeout. */
  receive(most: number): TimedMessage[] {
    const received: TimedMessage[] = [];
    while (received.length < most && this.waiting > 0) {
      const message = this.#takeOne();
      if (message.receives >= this.#options.receivesMax) {
        this.dead.push(message);
        continue;
      }
      message.receives++;
      received.push(message);
    }
    this.#hidden += received.length;
    this.hide(received, this.#options.visibilityMs);
    return received;
  }

  /** Makes received messages visible after a delay, unless they are deleted by then. */
  hide(messages: readonly TimedMessage[], milliseconds: number): void {
    const { clock } = this.#options;
    const visibleAt = clock.now + milliseconds;
    for (const message of messages) message.visibleAt = visibleAt;
    clock.at(visibleAt, () => {
      for (const message of messages) {
        if (message.isDeleted || message.visibleAt !== visibleAt) continue;
        this.#hidden--;
        this.#visible.push(message);
      }
    });
  }

  delete(message: TimedMessage): void {
    if (message.isDeleted || message.visibleAt <= this.#options.clock.now) return;
    message.isDeleted = true;
    this.#hidden--;
  }

  /** The record that the event source hands over. */
  delivered(message: TimedMessage): QueueMessage {
    const { batches } = this.#options;
    const { id, batch, sentAt, receives } = message;
    const replayedAt = batches.replayedAt(batch);
    const body = batches.message(batch);
    const identity = { messageId: id, originalId: id, body, sentAt, receives };
    return { ...identity, ...(replayedAt !== undefined && { replayedAt }) };
  }

  #takeOne(): TimedMessage {
    const at = this.#first + this.#options.random.below(Math.min(disorder, this.waiting));
    const message = this.#visible[at] as TimedMessage;
    this.#visible[at] = this.#visible[this.#first] as TimedMessage;
    this.#first++;
    if (this.#first > 100_000) {
      this.#visible = this.#visible.slice(this.#first);
      this.#first = 0;
    }
    return message;
  }
}
