import { isDeepStrictEqual } from 'node:util';

import { PutObjectCommand, type PutObjectCommandInput } from '@aws-sdk/client-s3';
import { TransactWriteItemsCommand, type TransactWriteItem } from '@aws-sdk/client-dynamodb';

import { batchIdInBlock, readRawKey } from '../../../src/domain/batch-id.ts';
import { countersPerDayMaxDefault } from '../../../src/domain/day-bound.ts';
import { addIncrement, mergeIncrements, type Increments } from '../../../src/domain/counter.ts';
import type { StoredDeadLetter } from '../../../src/engines/aws/dead-letters/dead-letter-pass.ts';
import type { DropOutcome } from '../../../src/engines/aws/dead-letters/drop.ts';
import { blockOf, chunkKey, messageKey } from '../../../src/engines/aws/ledger/ledger-table.ts';
import { deadLetterAttributes } from '../../../src/engines/aws/dead-letters/dead-letter-queue.ts';
import type { QueueMessage } from '../../../src/pipeline/counting/count-messages.ts';
import type { IngestOutcome } from '../../../src/pipeline/ports.ts';
import { calm, FaultLayer, type Weather } from './aws-fault-layer.ts';
import {
  dayMs,
  keepMs,
  receivesMax,
  runDrop,
  runIngest,
  runProcess,
  runRedrive,
  runSweep,
  timeoutMs,
  type FunctionWorld,
  type IngestEnvironment,
  type Variant,
} from './aws-functions.ts';
import { randomFrom, type Random } from '../simulated-aws/aws-random.ts';
import { Scheduler, type Invocation } from './aws-scheduler.ts';
import type { Item as ItemOfTable } from '../simulated-aws/aws-simulated-dynamodb.ts';
import type { Backend, SimulationOptions } from '../simulated-aws/aws-simulation.ts';
import type { SimulatedMessage } from '../simulated-aws/aws-simulated-sqs.ts';
import { submissionOf, type Item, type Post } from './aws-traffic.ts';
import {
  carriedBodies,
  cutAgain,
  excludedOf,
  inflated,
  incrementsOfItem,
  type CarriedBody,
} from './aws-recount.ts';

export interface ForeignItem {
  readonly id: string;
  readonly item: Item;
  readonly sentAt: number;
}

export interface GarbageMessage {
  readonly id: string;
  readonly body: string;
  readonly reason: string;
  /**
   * Whether it may have two dead letters: its delivery had a fault, or conflicted with another delivery.
   */
  isDisturbed: boolean;
}

type Update = NonNullable<TransactWriteItem['Update']>;

/** An oracle found a broken guarantee. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

const start = Date.UTC(2026, 0, 1);
/** SQS keeps no message longer. */
export const retentionMs = 14 * dayMs;
const processorsMax = 3;

/** The metadata of a body. */
function knownOf(metadata: Record<string, string> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).filter(([name]) => name !== 'sha256'));
}

/**
 * One store with its clients, its event source and its sweep, under one seed. It does single steps;
 * the schedule decides which, and when.
 */
export class World implements FunctionWorld {
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly variant: Variant;
  readonly backend: Backend;
  readonly foreign: ForeignItem[] = [];
  readonly garbage: GarbageMessage[] = [];
  /** All ledger rows that transactions ever wrote, as `id entry`. */
  readonly countedKeys = new Set<string>();
  /** Those of them that say that a message is dropped. */
  readonly dropped = new Set<string>();
  readonly trace: string[] = [];
  readonly countersPerDayMax: number;
  readonly environments: IngestEnvironment[] = [];
  readonly repeats = { expectedUntil: 0 };
  itemsPerMessage = Number.POSITIVE_INFINITY;
  /** Whether the messages of small batches carry their bodies now. */
  carriesBodies: boolean;
  /** Whether that changes in the schedule. */
  readonly hasBothForms: boolean;
  /** Rows were changed by hand: counters may have any value until a rebuild. */
  isDamaged = false;
  #faults: FaultLayer;
  #isTraced: boolean;
  #tokens = new Set<string>();
  /** Raw bodies and related objects, by key, as first stored. */
  #stored = new Map<string, PutObjectCommandInput>();
  /** The raw keys of the batches in it. */
  readonly #raised = new Set<string>();
  /** The sum of stored batches and foreign messages: no counter may ever exceed it. */
  readonly #ceiling: Increments = new Map();
  readonly #added: Increments = new Map();
  /** The messages that each running processor has, by their original ids. */
  readonly #processing = new Set<readonly string[]>();
  #violation: Violation | undefined;

  constructor(
    seed: number,
    makeBackend: (options: SimulationOptions) => Backend,
    options: { readonly variant?: Variant; readonly isTraced?: boolean } = {},
  ) {
    this.random = randomFrom(seed);
    this.scheduler = new Scheduler(this.random, start + this.random.below(dayMs));
    this.variant = options.variant ?? {};
    // Only in some schedules, so that the others run as without a limit.
    this.countersPerDayMax = seed % 4 === 0 ? 1 + ((seed / 4) % 6) : countersPerDayMaxDefault;
    this.hasBothForms = seed % 3 === 1;
    this.carriesBodies = this.hasBothForms;
    this.#isTraced = options.isTraced ?? false;
    const makeId = () => this.random.uuid();
    this.backend = makeBackend({ now: () => this.scheduler.now, makeId });
    this.#faults = new FaultLayer(this.backend, this.scheduler, this.random, {
      onEffect: (command) => this.#watch(command),
      trace: (line) => this.note(line),
    });
  }

  set weather(weather: Weather) {
    this.#faults.weather = weather;
  }

  get isCalm(): boolean {
    return this.#faults.weather === calm;
  }

  note(line: () => string): void {
    if (!this.#isTraced) return;
    this.trace.push(`${new Date(this.scheduler.now).toISOString().slice(5, 23)} ${line()}`);
  }

  async step(): Promise<void> {
    await this.#faults.step();
    if (this.#violation !== undefined) throw this.#violation;
  }

  /** Runs a function's requests to their end, before any other work. */
  async ask<T>(run: (invocation: Invocation) => Promise<T>): Promise<T> {
    let answer: { readonly value: T } | { readonly error: unknown } | undefined;
    const onDeath = () => (answer = { error: new Violation('the question was cut off') });
    this.scheduler.start('ask', 3_600_000, run, { onEnd: (end) => (answer = end), onDeath });
    while (answer === undefined) await this.step();
    if ('error' in answer) throw answer.error;
    return answer.value;
  }

  /** One attempt of a client; calls `again` if it must try again. */
  post(post: Post, again: () => void): void {
    post.firstAt ??= this.scheduler.now;
    const wasStored = this.#isStoredUnderKey(post);
    const submission = submissionOf(post, 1 + this.random.below(9));
    const itemsPerMessage = this.itemsPerMessage;
    const retry = () => {
      if (post.attemptsLeft-- > 0) again();
    };
    const invocation = this.scheduler.start<IngestOutcome>(
      'ingest',
      timeoutMs.ingest,
      (self) => runIngest(this, self, submission, itemsPerMessage),
      {
        onEnd: (outcome) => {
          if ('error' in outcome) {
            // The environment cannot read the store's day rule: the client gets 503.
            retry();
            return;
          }
          this.note(() => `${invocation.name} answers ${JSON.stringify(outcome.value)}`);
          if (!outcome.value.accepted) {
            const { code } = outcome.value.problem;
            post.refused.push(code);
            if (code === 'no_valid_items' && wasStored) {
              this.#violation ??= new Violation(`${post.marker} is refused, and was stored before`);
            }
            if (code !== 'idempotency_key_reused') retry();
            return;
          }
          const { rawKey, batchId, enqueued } = outcome.value;
          const answer = JSON.stringify(outcome.value);
          post.acknowledged.push({ rawKey, batchId, enqueued, answer, at: this.scheduler.now });
          // The response may not have reached the client.
          if (this.random.chance(0.2)) retry();
        },
        onDeath: retry,
      },
    );
    this.note(() => `${invocation.name} ${post.marker} ${post.key ?? ''} by ${itemsPerMessage}`);
  }

  /** Another program queues an item. */
  putForeign(item: Item): void {
    const id = this.backend.queue.put(JSON.stringify(item));
    this.foreign.push({ id, item, sentAt: this.scheduler.now });
    mergeIncrements(this.#ceiling, incrementsOfItem(item));
    this.note(() => `foreign item ${id}`);
  }

  putGarbage({ body, reason }: { readonly body: string; readonly reason: string }): void {
    const id = this.backend.queue.put(body);
    this.garbage.push({ id, body, reason, isDisturbed: false });
    this.note(() => `garbage ${id}`);
  }

  /** The event source delivers some visible messages; false if there are none. */
  deliver(most: number): boolean {
    const { queue } = this.backend;
    const visible = queue.visible();
    if (visible.length === 0 || this.#processing.size >= processorsMax) return false;
    const chosen: SimulatedMessage[] = [];
    while (visible.length > 0 && chosen.length < most) {
      chosen.push(...visible.splice(this.random.below(visible.length), 1));
    }
    const event = chosen.flatMap((message) => this.#receive(message));
    if (event.length > 0) this.#process(event);
    return true;
  }

  /** SQS moves a message that was received too often to the dead letters; it keeps its id. */
  #receive(message: SimulatedMessage): QueueMessage[] {
    const { queue, deadLetters } = this.backend;
    const originalId = message.attributes[deadLetterAttributes.originalId] ?? message.id;
    if (message.receives >= receivesMax) {
      queue.messages.delete(message.id);
      deadLetters.takeOver(message);
      this.note(() => `${message.id} is dead after ${receivesMax} receives`);
      this.#disturb([originalId]);
      return [];
    }
    message.receives++;
    // Delivered at least once: a copy may stay visible.
    const isTwice = !this.isCalm && this.random.chance(0.1);
    if (isTwice) this.#disturb([originalId]);
    else message.visibleAt = this.scheduler.now + 10_000 + this.random.below(350_000);
    const { id: messageId, body, receives } = message;
    const firstSentAt = message.attributes[deadLetterAttributes.sentAt];
    const sentAt = firstSentAt === undefined ? message.sentAt : Date.parse(firstSentAt);
    const delivered = () => ({ messageId, originalId, body, sentAt, receives });
    return isTwice && this.random.chance(0.3) ? [delivered(), delivered()] : [delivered()];
  }

  #process(event: readonly QueueMessage[]): void {
    const { queue } = this.backend;
    const ids = event.map(({ messageId }) => messageId);
    const originalIds = event.map(({ originalId }) => originalId);
    const disturb = () => this.#disturb(originalIds);
    // A message may become visible again while a processor has it: then both may dead-letter it.
    const others = [...this.#processing].flat();
    this.#disturb(originalIds.filter((id) => others.includes(id)));
    this.#processing.add(originalIds);
    const invocation = this.scheduler.start(
      'process',
      timeoutMs.process,
      (self) => runProcess(this, self, event),
      {
        onEnd: (outcome) => {
          this.#processing.delete(originalIds);
          if (invocation.faults > 0 || 'error' in outcome) disturb();
          const failed = 'value' in outcome ? outcome.value : new Set(ids);
          this.note(() => `${invocation.name} ends, ${failed.size} of ${ids.length} failed`);
          const done = event.filter(({ messageId }) => !failed.has(messageId));
          for (const { messageId, originalId } of done) {
            // Settled messages are deleted, if the request reaches the queue.
            if (this.isCalm || !this.random.chance(0.05)) queue.messages.delete(messageId);
            else this.#disturb([originalId]);
          }
        },
        onDeath: () => {
          this.#processing.delete(originalIds);
          disturb();
        },
      },
    );
    this.note(() => `${invocation.name} gets ${ids.join(', ')}`);
  }

  #disturb(originalIds: readonly string[]): void {
    for (const each of this.garbage) if (originalIds.includes(each.id)) each.isDisturbed = true;
  }

  sweep(): void {
    if (this.variant.hasNoSweeper === true) return;
    const { itemsPerMessage } = this;
    const invocation = this.scheduler.start(
      'sweep',
      timeoutMs.sweep,
      (self) => runSweep(this, self, itemsPerMessage),
      {
        onEnd: (outcome) => this.note(() => `${invocation.name} ${JSON.stringify(outcome)}`),
        onDeath: () => undefined,
      },
    );
    this.note(() => `${invocation.name} begins`);
  }

  /** An operator redrives dead letters. */
  redrive(isChosen: (deadLetter: StoredDeadLetter) => boolean): void {
    const invocation: Invocation = this.scheduler.start(
      'redrive',
      timeoutMs.command,
      (self) =>
        runRedrive(this, self, isChosen, ({ id }, left) => {
          this.note(() => `${invocation.name} ${id} ${left ?? 'sent'}`);
        }),
      this.#commandEnds(() => invocation),
    );
  }

  /** An operator drops dead letters. */
  drop(isChosen: (deadLetter: StoredDeadLetter) => boolean): void {
    const invocation: Invocation = this.scheduler.start(
      'drop',
      timeoutMs.command,
      (self) =>
        runDrop(this, self, isChosen, ({ id, content }, outcome) => {
          this.note(() => `${invocation.name} ${id} ${outcome}`);
          this.#checkOutcome(dedupKeyOf({ id, content }), outcome);
        }),
      this.#commandEnds(() => invocation),
    );
  }

  /** Its messages may exist twice, or become visible later. */
  #commandEnds(invocation: () => Invocation) {
    const disturb = () => {
      for (const each of this.garbage) each.isDisturbed = true;
    };
    return {
      onEnd: (outcome: object) => {
        this.note(() => `${invocation().name} ends ${'error' in outcome ? 'with an error' : ''}`);
        if (invocation().faults > 0 || 'error' in outcome) disturb();
      },
      onDeath: disturb,
    };
  }

  #checkOutcome(dedupKey: string, outcome: DropOutcome): void {
    const isTrue =
      outcome === 'dropped' ? this.dropped.has(dedupKey) : this.countedKeys.has(dedupKey);
    if (!isTrue) this.#violation ??= new Violation(`${dedupKey} is called ${outcome}`);
  }

  foreignOf(deadLetter: SimulatedMessage): ForeignItem | undefined {
    const known = deadLetter.attributes[deadLetterAttributes.originalId] ?? deadLetter.id;
    return this.foreign.find(({ id }) => id === known);
  }

  #watch(command: object): void {
    if (command instanceof PutObjectCommand) this.#watchObject(command.input);
    if (!(command instanceof TransactWriteItemsCommand)) return;
    const { TransactItems = [], ClientRequestToken = '' } = command.input;
    // The response to a repeated request, which took effect before.
    if (this.#tokens.has(ClientRequestToken)) return;
    this.#tokens.add(ClientRequestToken);
    const isRebuild = TransactItems.some((each) => each.ConditionCheck !== undefined);
    for (const { Put, Update } of TransactItems) {
      if (Put?.Item !== undefined) this.#watchMark(Put.Item);
      if (Update !== undefined) this.#watchBlock(Update);
      // Corrections of a rebuild are no increments.
      if (isRebuild) continue;
      const { Key, ExpressionAttributeValues: values = {} } = Update ?? {};
      const date = Key?.['date']?.S;
      if (date === undefined) continue;
      const counter = { date, type: values[':type']?.S ?? '', state: values[':state']?.S ?? '' };
      addIncrement(this.#added, counter, Number(values[':count']?.N));
      const { type, state } = counter;
      const most = this.#ceiling.get(date)?.get(type)?.get(state) ?? 0;
      const count = this.#added.get(date)?.get(type)?.get(state) ?? 0;
      if (count > most && !this.isDamaged) {
        const what = `${date} ${type} ${state} is ${count}, and ${most} came by now`;
        this.#violation ??= new Violation(what);
      }
    }
  }

  /** Each number in a dedup block is a dedup record. */
  #watchBlock({ Key, UpdateExpression = '', ExpressionAttributeValues: values }: Update): void {
    const block = blockOf(Key?.['id']?.S ?? '');
    if (block === undefined || !UpdateExpression.includes('ADD numbers')) return;
    for (const number of values?.[':numbers']?.NS ?? []) {
      const { id, entry } = chunkKey(batchIdInBlock({ block, number: Number(number) }), 0);
      this.#watchRecord(`${id} ${entry}`, UpdateExpression.includes('dropped'));
    }
  }

  #watchMark(row: ItemOfTable): void {
    const dedupKey = `${row['id']?.S ?? ''} ${row['entry']?.S ?? ''}`;
    this.#watchRecord(dedupKey, row['dropped_at'] !== undefined);
  }

  #watchRecord(dedupKey: string, isDrop: boolean): void {
    (isDrop ? this.dropped : this.countedKeys).add(dedupKey);
    if (isDrop || !this.dropped.has(dedupKey)) return;
    this.#violation ??= new Violation(`${dedupKey} is counted, and was dropped`);
  }

  /** Whether a body is stored that a retry of the post surely joins. */
  #isStoredUnderKey({ key, body }: Post): boolean {
    if (key === undefined) return false;
    const since = this.scheduler.now - keepMs + dayMs;
    return [...this.#stored].some(([rawKey, { Body, ContentEncoding: contentEncoding }]) => {
      const { receivedAt = 0 } = readRawKey(rawKey) ?? {};
      const object = { body: Body as Uint8Array, contentEncoding, metadata: {} };
      return receivedAt > since && Buffer.compare(inflated(object), body) === 0;
    });
  }

  #watchObject(input: PutObjectCommandInput): void {
    const { Key = '', Body, ContentEncoding, Metadata } = input;
    const first = this.#stored.get(Key);
    if (first !== undefined) {
      // A retry may be compressed again, into other bytes.
      const isSame =
        isDeepStrictEqual(knownOf(first.Metadata), knownOf(Metadata)) &&
        (Key.startsWith('raw/') || isDeepStrictEqual(first.Body, Body));
      if (!isSame) this.#violation ??= new Violation(`${Key} is stored again, and differs`);
      return;
    }
    this.#stored.set(Key, input);
    for (const carried of carriedBodies(Key, Body as Uint8Array)) this.#raise(carried);
    if (!Key.startsWith('raw/')) return;
    const object = {
      body: Body as Uint8Array,
      contentEncoding: ContentEncoding,
      metadata: Metadata ?? {},
    };
    if (
      Metadata?.['excluded'] !== undefined &&
      !this.#stored.has(Key.replace('raw/', 'excluded/'))
    ) {
      this.#violation ??= new Violation(`${Key} is stored before what is excluded of it`);
      return;
    }
    const excluded = excludedOf(Key, object, (key) => this.#stored.get(key)?.Body as Uint8Array);
    this.#raise({ rawKey: Key, chunks: cutAgain(Key, object, excluded) });
  }

  /** Raises the ceiling by a stored batch, once. */
  #raise({ rawKey, chunks }: Pick<CarriedBody, 'rawKey' | 'chunks'>): void {
    if (this.#raised.has(rawKey)) return;
    this.#raised.add(rawKey);
    for (const { increments } of chunks) mergeIncrements(this.#ceiling, increments);
  }
}

function dedupKeyOf({ id, content }: Pick<StoredDeadLetter, 'id' | 'content'>): string {
  const { id: partition, entry } =
    content.kind === 'chunk' ? chunkKey(content.batchId, content.index) : messageKey(id, 'counted');
  return `${partition} ${entry}`;
}
