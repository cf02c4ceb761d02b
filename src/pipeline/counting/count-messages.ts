import type { DayOf } from '../../domain/day.ts';
import type { CarriedBatch } from '../chunks/carried-batch.ts';
import { readMessage, type MessageReading } from '../chunks/queue-message.ts';
import {
  PermanentFailure,
  type CounterStore,
  type Delivery,
  type DeadLetter,
  type DeadLetterSink,
} from '../ports.ts';

/** A message as the queue delivers it. */
export interface QueueMessage {
  /** The id of the message on the queue: the same for every delivery. */
  readonly messageId: string;
  /** The id of the first message: a redrive sends a new message and keeps this id. */
  readonly originalId: string;
  readonly body: string;
  /** When the first message was sent, before any redrive; milliseconds since 1970. */
  readonly sentAt: number;
  /** For a chunk of a replayed batch: when the batch arrived here; milliseconds since 1970. */
  readonly replayedAt?: number;
  /** How often it was received, including this time. */
  readonly receives: number;
  /** When it was first dead-lettered; milliseconds since 1970. */
  readonly firstFailedAt?: number | undefined;
}

type Countable = Exclude<MessageReading, { kind: 'unreadable' }>;

export interface CountingPorts<Key, D extends Delivery<Key>> {
  readonly store: CounterStore<Key, D>;
  /** The delivery of a message, identified by its content if possible. */
  readonly deliveryOf: (message: QueueMessage, reading: Countable) => D;
  /** Equal for deliveries that count once. */
  readonly idOf: (delivery: D) => string;
  /**
   * The deliveries that are counted already. If it fails, the store finds them, at the cost of a
   * transaction for each.
   */
  readonly known: (deliveries: readonly D[]) => Promise<ReadonlySet<D>>;
  /**
   * Makes bodies that messages carry durable, all or none; a body may be stored already.
   * @throws if they may not be.
   */
  readonly keepBodies: (batches: readonly CarriedBatch[]) => Promise<void>;
  /** Groups deliveries that fit into one transaction. */
  readonly group: (deliveries: readonly D[]) => readonly (readonly D[])[];
  readonly deadLetters: DeadLetterSink;
}

interface CountingRules {
  readonly dayOf: DayOf;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** No transaction starts after it; milliseconds since 1970. */
  readonly deadline: number;
  /** An older message may be counted and its dedup record expired. Milliseconds. */
  readonly ageMsMax: number;
  /** After this many receives the queue itself dead-letters a message. */
  readonly receivesMax: number;
  readonly repeats: RepeatWatch;
}

/** State that the caller keeps from one call to the next. */
export interface RepeatWatch {
  /**
   * Until when repeated deliveries are likely, since one came unexpectedly; milliseconds since 1970,
   * initially 0.
   */
  expectedUntil: number;
}

/**
 * Counts the chunks and items in the messages, each once, and dead-letters the messages that can never
 * be counted or were received for the last time, each with its reason. A body that a message carries is
 * stored before either. Returns the messages to deliver again; all others are settled.
 */
export async function countMessages<Key, D extends Delivery<Key>>(
  messages: readonly QueueMessage[],
  ports: CountingPorts<Key, D>,
  rules: CountingRules,
): Promise<ReadonlySet<QueueMessage>> {
  const { countable, dead, doubtful, carried } = classify(messages, ports, rules);
  const failures = new Map<QueueMessage, unknown>();
  const rest = new Set(countable.keys());
  await removeKnown(rest, doubtful, ports);
  const open = new Set([...[...rest].flatMap((each) => countable.get(each) ?? []), ...dead.keys()]);
  const unkept = new Set(await keepBodies(carried, open, ports));
  for (const message of unkept) dead.delete(message);
  for (const delivery of rest) {
    const sources = countable.get(delivery) ?? [];
    if (!sources.some((message) => unkept.has(message))) continue;
    rest.delete(delivery);
    for (const message of sources) unkept.add(message);
  }
  let groups = [...ports.group([...rest])];
  // One after the other: concurrent transactions would conflict at the same counters.
  for (let group = groups.shift(); group !== undefined; group = groups.shift()) {
    const { failed, repeated } = await applyGroup(group, ports, rules);
    for (const [delivery, error] of failed) {
      for (const message of countable.get(delivery) ?? []) failures.set(message, error);
    }
    if (repeated === 0 || rules.now() < rules.repeats.expectedUntil) continue;
    // Each repeat cancels the transaction of a whole group. After an unexpected one, more are likely:
    // look up the remaining deliveries, and all of the next minutes.
    rules.repeats.expectedUntil = rules.now() + expectedMs;
    const left = new Set(groups.flat());
    await removeKnown(left, [...left], ports);
    groups = [...ports.group([...left])];
  }
  for (const [message, error] of failures) {
    const isLast = message.receives >= rules.receivesMax || error instanceof PermanentFailure;
    if (isLast) dead.set(message, `not_counted: ${describe(error)}`);
  }
  const settled = await deadLetter(dead, ports.deadLetters);
  const left = [...failures.keys(), ...dead.keys()].filter((message) => !settled.has(message));
  return new Set([...unkept, ...left]);
}

/**
 * Stores the bodies of the open messages that carry one. Returns the messages of bodies that may not be
 * stored: each may be the only copy, so that it must be delivered again, whatever its outcome.
 */
async function keepBodies<Key, D extends Delivery<Key>>(
  carried: ReadonlyMap<QueueMessage, CarriedBatch>,
  open: ReadonlySet<QueueMessage>,
  ports: CountingPorts<Key, D>,
): Promise<ReadonlySet<QueueMessage>> {
  const kept = [...carried].filter(([message]) => open.has(message));
  if (kept.length === 0) return new Set();
  // A retry under a key may have the same items in other bytes, which are acknowledged, too.
  const batches = new Map(kept.map(([, batch]) => [`${batch.batchId} ${batch.sha256}`, batch]));
  try {
    await ports.keepBodies([...batches.values()]);
    return new Set();
  } catch {
    return new Set(kept.map(([message]) => message));
  }
}

/** Removes the deliveries that are known to be counted. */
async function removeKnown<Key, D extends Delivery<Key>>(
  rest: Set<D>,
  candidates: readonly D[],
  { known }: CountingPorts<Key, D>,
): Promise<void> {
  if (candidates.length === 0) return;
  const found = await known(candidates).catch(() => new Set<D>());
  for (const delivery of found) rest.delete(delivery);
}

/** A chunk is first queued within this time after its batch was received */
const queuedMsMax = 5 * 60_000;
/** and waits there at most for this time, unless there is a backlog. */
const waitMsMax = 15 * 60_000;

/** How long after an unexpected repeat others are likely. */
const expectedMs = 5 * 60_000;

/** Whether the message is likely to have been counted before. */
function isDoubtful(
  message: QueueMessage,
  reading: Countable,
  now: number,
  { expectedUntil }: RepeatWatch,
): boolean {
  if (now < expectedUntil) return true;
  const { receives, firstFailedAt, sentAt, replayedAt } = message;
  if (receives > 1 || firstFailedAt !== undefined || now - sentAt > waitMsMax) return true;
  return reading.kind === 'chunk' && sentAt - (replayedAt ?? reading.receivedAt) > queuedMsMax;
}

/** Separates messages that can be counted from those that never can. */
function classify<Key, D extends Delivery<Key>>(
  messages: readonly QueueMessage[],
  { deliveryOf, idOf }: CountingPorts<Key, D>,
  { dayOf, now, ageMsMax, repeats }: CountingRules,
) {
  /** Two messages with the same content are one delivery. */
  const countable = new Map<D, QueueMessage[]>();
  const byId = new Map<string, D>();
  const doubtful = new Set<D>();
  const dead = new Map<QueueMessage, string>();
  const carried = new Map<QueueMessage, CarriedBatch>();
  const oldest = now() - ageMsMax;
  for (const message of messages) {
    const reading = readMessage(message.body, dayOf);
    if ('carried' in reading) carried.set(message, reading.carried);
    if (reading.kind === 'unreadable') {
      dead.set(message, reading.reason);
      continue;
    }
    const reason = whyTooOld(message, reading, oldest);
    if (reason !== undefined) {
      dead.set(message, reason);
      continue;
    }
    const made = deliveryOf(message, reading);
    const delivery = byId.get(idOf(made)) ?? made;
    byId.set(idOf(made), delivery);
    countable.set(delivery, [...(countable.get(delivery) ?? []), message]);
    if (isDoubtful(message, reading, now(), repeats)) doubtful.add(delivery);
  }
  return { countable, doubtful: [...doubtful], dead, carried };
}

/** The reason why a message is too old to be counted, if it is older than `oldest` (milliseconds since 1970). */
export function whyTooOld(
  { sentAt, replayedAt }: Pick<QueueMessage, 'sentAt' | 'replayedAt'>,
  reading: Countable,
  oldest: number,
): string | undefined {
  const [since, verb] =
    reading.kind === 'chunk' ? [replayedAt ?? reading.receivedAt, 'received'] : [sentAt, 'sent'];
  if (since >= oldest) return undefined;
  return `too_old: ${verb} at ${new Date(since).toISOString()}; the ledger no longer shows whether it was counted`;
}

/**
 * Applies the deliveries in one transaction, or by halves if they cannot be counted together: one that
 * cannot be counted must not block the others.
 */
async function applyGroup<Key, D extends Delivery<Key>>(
  group: readonly D[],
  ports: CountingPorts<Key, D>,
  rules: CountingRules,
): Promise<Applied<D>> {
  const fail = (error: unknown): Applied<D> => ({
    failed: group.map((delivery) => [delivery, error] as const),
    repeated: 0,
  });
  if (rules.now() >= rules.deadline) return fail(new Error('invocation deadline reached'));
  try {
    const { repeated } = await ports.store.apply(group);
    return { failed: [], repeated: repeated.length };
  } catch (error) {
    if (!(error instanceof PermanentFailure) || group.length === 1) return fail(error);
    const half = Math.ceil(group.length / 2);
    const halves = [
      await applyGroup(group.slice(0, half), ports, rules),
      await applyGroup(group.slice(half), ports, rules),
    ];
    return {
      failed: halves.flatMap(({ failed }) => failed),
      repeated: halves.reduce((sum, { repeated }) => sum + repeated, 0),
    };
  }
}

interface Applied<D> {
  /** The deliveries that are not counted, and why. */
  readonly failed: readonly (readonly [D, unknown])[];
  /** The number of deliveries that were counted before. */
  readonly repeated: number;
}

async function deadLetter(
  dead: ReadonlyMap<QueueMessage, string>,
  sink: DeadLetterSink,
): Promise<ReadonlySet<QueueMessage>> {
  // Two deliveries of one message are one dead letter.
  const deadLetters = new Map<string, DeadLetter>();
  for (const [{ messageId, originalId, sentAt, replayedAt, body, firstFailedAt }, reason] of dead) {
    const replayed = replayedAt === undefined ? {} : { replayedAt };
    const content = { originalId, sentAt, ...replayed, body, reason, firstFailedAt };
    deadLetters.set(messageId, { messageId, ...content });
  }
  if (deadLetters.size === 0) return new Set();
  const added = await sink.add([...deadLetters.values()]);
  return new Set([...dead.keys()].filter(({ messageId }) => added.has(messageId)));
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
