import { asWritten, dayRule } from '../../../src/domain/day.ts';
import { typeStateKey } from '../../../src/domain/counter.ts';
import { awsCountingPorts } from '../../../src/engines/aws/counters/counting-ports.ts';
import { awsSweepPorts } from '../../../src/engines/aws/intake/sweep-ports.ts';
import type { Backoff } from '../../../src/util/backoff.ts';
import { dynamodbCounterStore } from '../../../src/engines/aws/counters/counter-store.ts';
import { countedThrough } from '../../../src/engines/aws/ledger/sweep-progress.ts';
import { s3BodyGroups } from '../../../src/engines/aws/intake/body-groups.ts';
import { s3RawStore } from '../../../src/engines/aws/intake/raw-store.ts';
import { sqsChunkQueue } from '../../../src/engines/aws/queue/chunk-queue.ts';
import { deadLetterQueue } from '../../../src/engines/aws/dead-letters/dead-letter-queue.ts';
import { deliverSooner } from '../../../src/engines/aws/queue/visibility.ts';
import {
  countMessages,
  type CountingPorts,
} from '../../../src/pipeline/counting/count-messages.ts';
import { sweep } from '../../../src/pipeline/sweep/sweep.ts';
import type { SweepPorts, SweepResult } from '../../../src/pipeline/sweep/ports.ts';
import type { LedgerDelivery } from '../../../src/engines/aws/counters/counter-store.ts';
import type { DedupKey } from '../../../src/engines/aws/ledger/dedup-records.ts';
import { sweepWidth } from '../../../src/entry/lambda/sweep-function.ts';
import { receivesMax } from '../../../infra/stack/queues.ts';
import {
  functionSpecs,
  sweepAfterSeconds,
  sweepEveryMinutes,
} from '../../../infra/stack/function-specs.ts';
import { defaultSettings } from '../../../infra/settings.ts';
import { randomFrom, type Random } from '../simulated-aws/aws-random.ts';
import {
  bucket,
  countersTable,
  deadLetterQueueUrl,
  ledgerTable,
  queueUrl,
} from '../simulated-aws/aws-simulation.ts';
import { TimedBatches } from './timed-batches.ts';
import { TimedClock } from './timed-clock.ts';
import { TimedQueue, type TimedMessage } from './timed-queue.ts';
import { TimedServices, unavailable } from './timed-services.ts';

const minuteMs = 60_000;
const dayMs = 86_400_000;
const keepMs = 90 * dayMs;
const ageMsMax = 83 * dayMs;
const dayOf = dayRule(asWritten);
const start = Date.UTC(2026, 0, 1);

/** Parts of the engine that a planted bug replaces. */
export interface TimedVariant {
  readonly sweepPorts?: (ports: SweepPorts) => SweepPorts;
  readonly resendsMax?: number;
  readonly countingPorts?: (
    ports: CountingPorts<DedupKey, LedgerDelivery>,
  ) => CountingPorts<DedupKey, LedgerDelivery>;
  readonly attemptsMax?: number;
}

export interface TimedOptions {
  /**
   * The fraction of the simulated size: the load is smaller and each call longer by this factor. The
   * ratios stay the same.
   */
  readonly scale: number;
  /** Incoming items per second, one in each request, at full size. */
  readonly perSecond: (minute: number) => number;
  /** The number of days on which they count. */
  readonly days?: number;
  /** `processConcurrencyMax`. */
  readonly places?: number;
  /** Milliseconds, at full size. */
  readonly transactionMs?: number;
  /** Write units per second of a day's counters; by default transactions are the limit. */
  readonly partitionUnits?: number;
  /** The fraction of messages that arrive twice. */
  readonly repeats?: number;
  /** The fraction of intakes that are interrupted before their messages are sent. */
  readonly cutOff?: (minute: number) => number;
  /** The fraction of messages that are lost on the queue. */
  readonly lost?: (minute: number) => number;
  /** The outage in a minute. */
  readonly outages?: (minute: number) => readonly Outage[];
  /**
   * Whether the messages carry the bodies: then nothing is stored when a batch arrives, and while SQS
   * fails none does. Without replays and lost messages.
   */
  readonly areCarried?: boolean;
  /** Environments of the ingest function: each has a dedup block of its own. */
  readonly environments?: number;
  readonly variant?: TimedVariant;
  readonly seed?: number;
}

/**
 * `counting`: the event source starts no invocation. `crash`: each invocation ends half way. `denied`:
 * DynamoDB refuses each request at once, as without a permission. While S3 fails nothing is stored;
 * while SQS fails every intake is interrupted before its messages are sent, and while DynamoDB fails
 * before its row is written.
 */
export type Outage = 'counting' | 'crash' | 'sweeper' | 'dynamodb' | 'denied' | 's3' | 'sqs';

/** The state at the end of a minute, at full size. */
export interface Minute {
  readonly minute: number;
  /** Requests per second. */
  readonly offered: number;
  /** Items counted per second in this minute. */
  readonly counted: number;
  /** Messages settled per second, including repeats. */
  readonly done: number;
  /** Uncounted items. */
  readonly behind: number;
  /** Messages that sweeps sent. */
  readonly resent: number;
  readonly orphans: number;
  /** The age of the oldest waiting message, in seconds. */
  readonly oldestSeconds: number;
  readonly deadLetters: number;
  /** The delay of `counted_through` in minutes; undefined before the first sweep. */
  readonly throughMinutes: number | undefined;
  /** Sweeps that succeeded, */
  readonly sweeps: number;
  /** and those that failed. */
  readonly sweepsFailed: number;
  readonly sweepBehindSeconds: number;
  /** Runs of the processor that were killed. */
  readonly crashed: number;
  /** The age of the oldest message that the processor could not count in this minute. */
  readonly failedSeconds: number;
  /** The age of the oldest waiting batch at the last sweep of the minute. */
  readonly uncountedSeconds: number;
  readonly forgotten: number;
}

/** An age below which the processor does not look a message up. */
const repeatedAfterMs = 2 * minuteMs;
/** The time of an invocation before it reads its messages, and between two transactions. */
const [invokeMs, betweenGroupsMs] = [20, 2];

/** Lambda starts with five pollers and adds others up to the maximum concurrency. */
const pollersMin = 5;

/**
 * The real processor and sweep on services in virtual time. The results of the intake are simulated.
 */
export class TimedPipeline {
  readonly services: TimedServices;
  readonly queue: TimedQueue;
  readonly batches: TimedBatches;
  readonly clock = new TimedClock(start);
  readonly minutes: Minute[] = [];
  readonly #options: TimedOptions;
  readonly #random: Random;
  readonly #outages = new Set<Outage>();
  #places: number;
  #waiting: (() => void)[] = [];
  #counted = 0;
  #done = 0;
  #minute = 0;
  #owed = 0;
  #sweeping = false;
  readonly #repeats = { expectedUntil: 0 };
  #sums = nothing();

  constructor(options: TimedOptions) {
    const { scale, days = 1, places = 2, transactionMs = 60, partitionUnits = Infinity } = options;
    this.#options = options;
    this.#random = randomFrom(options.seed ?? 1);
    this.#places = places;
    this.batches = new TimedBatches(days, options.areCarried, options.environments);
    const visibilitySeconds =
      6 * functionSpecs.process.timeoutSeconds + defaultSettings.batchWindowSeconds;
    this.queue = new TimedQueue({
      ...{ clock: this.clock, random: this.#random, batches: this.batches, receivesMax },
      visibilityMs: visibilitySeconds * 1_000,
    });
    this.services = new TimedServices({
      ...{ clock: this.clock, batches: this.batches, queue: this.queue },
      latencies: {
        transaction: transactionMs / scale,
        conflict: transactionMs / 4 / scale,
        call: 8 / scale,
      },
      partitionUnits: partitionUnits * scale,
    });
    for (let poller = 0; poller < Math.max(pollersMin, places); poller++) void this.#poll();
  }

  /** Lets this many minutes pass. */
  async run(minutes: number): Promise<void> {
    for (let passed = 0; passed < minutes; passed++) await this.#passMinute();
  }

  get behind(): number {
    return this.batches.size - this.#counted;
  }

  /** Wrong counters, as text; none if everything is counted exactly once. */
  differences(): string[] {
    const expected = new Map<string, number>();
    for (let batch = 0; batch < this.batches.size; batch++) {
      const { date, type, state } = this.batches.event(batch);
      const name = `${date} ${typeStateKey(type, state)}`;
      expected.set(name, (expected.get(name) ?? 0) + 1);
    }
    return [...new Set([...expected.keys(), ...this.services.counters.keys()])].flatMap((name) => {
      const [is, should] = [this.services.counters.get(name) ?? 0, expected.get(name) ?? 0];
      return is === should ? [] : [`${name} is ${is} and should be ${should}`];
    });
  }

  /** Old batches, `perSecond` of them, as a replay brings them in. */
  replay(batches: number, receivedAt: number): void {
    for (let each = 0; each < batches; each++) this.#arrive(receivedAt + each, this.clock.now);
  }

  async #passMinute(): Promise<void> {
    const minute = this.#minute++;
    const { services } = this;
    const { outages, scale } = this.#options;
    this.#outages.clear();
    services.down.clear();
    for (const outage of outages?.(minute) ?? []) {
      this.#outages.add(outage);
      if (outage === 'denied')
        services.down.set('dynamodb', { code: 'AccessDeniedException', status: 400 });
      else if (outage === 'dynamodb' || outage === 's3' || outage === 'sqs')
        services.down.set(outage, unavailable);
    }
    const before = { counted: this.#counted, done: this.#done };
    this.#sums = nothing();
    for (let second = 0; second < 60; second++) {
      this.clock.at(this.clock.now + second * 1_000, () => this.#arriveInSecond(minute));
    }
    if (minute % sweepEveryMinutes === 0) void this.#sweep();
    await this.clock.runTo(start + this.#minute * minuteMs);
    const oldest = this.queue.oldestSentAt;
    this.minutes.push({
      minute,
      offered: this.#options.perSecond(minute),
      counted: (this.#counted - before.counted) / 60 / scale,
      done: (this.#done - before.done) / 60 / scale,
      behind: this.behind / scale,
      resent: this.#sums.resent / scale,
      orphans: this.#sums.orphans,
      oldestSeconds: oldest === undefined ? 0 : (this.clock.now - oldest) / 1_000,
      deadLetters: this.queue.dead.length + services.deadLettered.length,
      throughMinutes: await this.#through(),
      sweeps: this.#sums.sweeps,
      sweepsFailed: this.#sums.sweepsFailed,
      sweepBehindSeconds: this.#sums.behindMs / 1_000,
      crashed: this.#sums.crashed,
      failedSeconds: this.#sums.failedMs / 1_000,
      uncountedSeconds: this.#sums.waitingMs / 1_000,
      forgotten: this.#sums.forgotten,
    });
  }

  /** Read without the clock. */
  async #through(): Promise<number | undefined> {
    const asked = countedThrough({ send: this.services.peek as never }, ledgerTable);
    const through = await asked;
    return through === undefined ? undefined : (this.clock.now - through) / minuteMs;
  }

  #arriveInSecond(minute: number): void {
    this.#owed += this.#options.perSecond(minute) * this.#options.scale;
    const now = Math.floor(this.clock.now);
    const first = this.batches.size;
    for (; this.#owed >= 1; this.#owed--) this.#arrive(now);
    const { repeats = 0 } = this.#options;
    if (repeats === 0) return;
    const end = this.batches.size;
    this.clock.at(now + repeatedAfterMs, () => {
      for (let batch = first; batch < end; batch++) {
        if (this.#random.chance(repeats)) this.queue.send(batch);
      }
    });
  }

  #arrive(receivedAt: number, replayedAt?: number): void {
    const { cutOff, lost } = this.#options;
    const minute = this.#minute - 1;
    const { down } = this.services;
    if (down.has(this.batches.areCarried ? 'sqs' : 's3')) return;
    const batch = this.batches.add(receivedAt, replayedAt);
    if (down.has('sqs') || this.#random.chance(cutOff?.(minute) ?? 0)) return;
    if (!down.has('dynamodb')) this.batches.set(batch, 'row');
    if (!this.#random.chance(lost?.(minute) ?? 0)) this.queue.send(batch);
  }

  /** Collects messages for the batching window, or until there are enough, and invokes the processor. */
  async #poll(): Promise<never> {
    const { batchSize, batchWindowSeconds } = defaultSettings;
    for (;;) {
      await this.clock.sleep(200);
      if (this.#outages.has('counting') || this.queue.waiting === 0) continue;
      const messages: TimedMessage[] = [];
      const end = this.clock.now + batchWindowSeconds * 1_000;
      while (messages.length < batchSize && this.clock.now < end) {
        messages.push(...this.queue.receive(batchSize - messages.length));
        await this.clock.sleep(messages.length < batchSize ? 500 : 20);
      }
      if (messages.length === 0) continue;
      await this.#takePlace();
      await this.#invoke(messages).catch(() => undefined);
      this.#places++;
      this.#waiting.shift()?.();
    }
  }

  async #takePlace(): Promise<void> {
    while (this.#places <= 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#places--;
  }

  /** The process function. */
  async #invoke(received: readonly TimedMessage[]): Promise<void> {
    const { services, queue, clock } = this;
    const { variant } = this.#options;
    const deadline = clock.now + functionSpecs.process.timeoutSeconds * 1_000 - 5_000;
    await clock.sleep(invokeMs / this.#options.scale);
    for (const message of received) services.received.set(message.id, message);
    const messages = new Map(received.map((message) => [queue.delivered(message), message]));
    const client = { send: (command: object) => services.send(command) };
    const attemptsMax = variant?.attemptsMax ?? Number.POSITIVE_INFINITY;
    const store = dynamodbCounterStore({
      ...{ client, countersTable, ledgerTable, keepMs },
      backoff: this.#backoff(attemptsMax, deadline),
    });
    const backoff = this.#backoff(4, deadline);
    const deadLetters = deadLetterQueue({ client, queueUrl: deadLetterQueueUrl, backoff });
    const ports = awsCountingPorts(store, deadLetters, {
      ...{ client, ledgerTable, backoff },
      groups: s3BodyGroups(client, bucket),
      storing: this.#backoff(attemptsMax, deadline),
    });
    const left = await countMessages(
      [...messages.keys()],
      this.#observed(variant?.countingPorts?.(ports) ?? ports),
      { dayOf, now: () => clock.now, deadline, ageMsMax, receivesMax, repeats: this.#repeats },
    );
    // Killed at its end: what is counted stays counted, and all messages are delivered again.
    if (this.#outages.has('crash')) this.#sums.crashed++;
    else {
      const again = [...left].map(({ messageId, receives }) => ({
        receiptHandle: messageId,
        receives,
      }));
      for (const { sentAt } of left)
        this.#sums.failedMs = Math.max(this.#sums.failedMs, clock.now - sentAt);
      await deliverSooner(client, queueUrl, again);
      for (const [delivered, message] of messages) if (!left.has(delivered)) queue.delete(message);
      this.#done += messages.size - left.size;
    }
    for (const message of received) services.received.delete(message.id);
  }

  #observed(ports: CountingPorts<DedupKey, LedgerDelivery>) {
    return {
      ...ports,
      store: {
        apply: async (deliveries: readonly LedgerDelivery[]) => {
          const result = await ports.store.apply(deliveries);
          this.#counted += result.counted.length;
          await this.clock.sleep(betweenGroupsMs / this.#options.scale);
          return result;
        },
      },
    };
  }

  /** The sweep function. */
  async #sweep(): Promise<void> {
    const { clock, services } = this;
    const { variant } = this.#options;
    if (this.#outages.has('sweeper') || this.#sweeping) return;
    this.#sweeping = true;
    const client = { send: (command: object) => services.send(command) };
    const backoff = this.#backoff(6);
    const ports = awsSweepPorts({
      ledger: { client, ledgerTable, keepMs },
      rawStore: s3RawStore(client, bucket),
      queue: sqsChunkQueue({ client, queueUrl, backoff }),
      ...{ sqs: client, queueUrl, backoff },
      deadLetters: deadLetterQueue({ client, queueUrl: deadLetterQueueUrl, backoff }),
      width: sweepWidth,
    });
    const { resendsMax } = variant ?? {};
    try {
      const result = await sweep(variant?.sweepPorts?.(ports) ?? ports, {
        ...{ dayOf, ageMsMax, keepMs, now: () => Math.floor(clock.now) },
        afterMs: sweepAfterSeconds * 1_000,
        deadline: clock.now + functionSpecs.sweep.timeoutSeconds * 1_000 - 20_000,
        // At the reduced size.
        resendsMax: resendsMax ?? Math.round(100_000 * this.#options.scale),
        shallowDepth: Math.round(1_000 * this.#options.scale),
        queuedMax: Math.round(500_000 * this.#options.scale),
        ...{ onFailure: () => undefined, onForgotten: () => undefined },
      });
      this.#note(result);
    } catch {
      // The next sweep tries again.
      this.#sums.sweepsFailed++;
    }
    this.#sweeping = false;
  }

  #note({ resent, orphans, behindMs, waitingMs, failed, forgotten }: SweepResult): void {
    this.#sums.resent += resent;
    this.#sums.orphans += orphans;
    this.#sums.behindMs = behindMs;
    this.#sums.waitingMs = waitingMs;
    this.#sums.forgotten += forgotten;
    if (failed === 0) this.#sums.sweeps++;
    else this.#sums.sweepsFailed++;
  }

  #backoff(attemptsMax: number, deadline = Number.POSITIVE_INFINITY): Backoff {
    return {
      ...{ attemptsMax, delayMsMax: 1_000, deadline },
      now: () => this.clock.now,
      sleep: (milliseconds) => this.clock.sleep(milliseconds / this.#options.scale),
      random: () => this.#random.next(),
    };
  }
}

/** Sums of a minute. */
function nothing() {
  return {
    resent: 0,
    orphans: 0,
    sweeps: 0,
    sweepsFailed: 0,
    behindMs: 0,
    crashed: 0,
    failedMs: 0,
    waitingMs: 0,
    forgotten: 0,
  };
}
