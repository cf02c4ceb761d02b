import type { DayOf } from '../../domain/day.ts';
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
  /** Of this message on the queue: the same however often it is delivered. */
  readonly messageId: string;
  /** Of the message when it first came: a redrive gives it another id, and this stays. */
  readonly originalId: string;
  readonly body: string;
  /** When it was first sent, before any redrive; milliseconds since 1970. */
  readonly sentAt: number;
  /** Of a chunk of a batch from another installation: when that came here. */
  readonly replayedAt?: number;
  /** How often it was received, this time included. */
  readonly receives: number;
  /** When it was first found that it cannot be counted; milliseconds since 1970. */
  readonly firstFailedAt?: number | undefined;
}

type Countable = Exclude<MessageReading, { kind: 'unreadable' }>;

export interface CountingPorts<Mark, D extends Delivery<Mark>> {
  readonly store: CounterStore<Mark, D>;
  /** The mark under which a message is counted: its content's identity, if it has one. */
  readonly deliveryOf: (message: QueueMessage, reading: Countable) => D;
  /** The same for deliveries of the same mark. */
  readonly nameOf: (delivery: D) => string;
  /**
   * Those of the deliveries that are counted now. Where it fails, the store finds them out, at the
   * cost of a step for each.
   */
  readonly known: (deliveries: readonly D[]) => Promise<ReadonlySet<D>>;
  /** Puts deliveries together that one transaction can take. */
  readonly group: (deliveries: readonly D[]) => readonly (readonly D[])[];
  readonly parking: DeadLetterSink;
}

export interface CountingRules {
  readonly dayOf: DayOf;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** No transaction is begun after it; milliseconds since 1970. */
  readonly deadline: number;
  /** A message of something older might have been counted and its mark be gone. */
  readonly ageMsMax: number;
  /** After so many receives the queue itself takes a message for dead. */
  readonly receivesMax: number;
  readonly repeats: RepeatWatch;
}

/** What is remembered from one call to the next. */
export interface RepeatWatch {
  /**
   * Until when any message may be one that was counted before, since such came unexpectedly;
   * milliseconds since 1970, 0 at first.
   */
  expectedUntil: number;
}

/**
 * Counts what the messages ask for, each chunk or item once, and puts those among the dead letters,
 * each with its reason, that can never be counted or were received for the last time.
 * Returns the messages that are to be delivered again; all others are done with.
 */
export async function countMessages<Mark, D extends Delivery<Mark>>(
  messages: readonly QueueMessage[],
  ports: CountingPorts<Mark, D>,
  rules: CountingRules,
): Promise<ReadonlySet<QueueMessage>> {
  const { countable, dead, suspects } = sort(messages, ports, rules);
  const failures = new Map<QueueMessage, unknown>();
  const rest = new Set(countable.keys());
  await leaveOutKnown(rest, suspects, ports);
  let groups = [...ports.group([...rest])];
  // One after the other: transactions at the same time would meet at the same counters.
  for (let group = groups.shift(); group !== undefined; group = groups.shift()) {
    const { failed, repeated } = await applyGroup(group, ports, rules);
    for (const [delivery, error] of failed) {
      for (const message of countable.get(delivery) ?? []) failures.set(message, error);
    }
    if (repeated === 0 || rules.now() < rules.repeats.expectedUntil) continue;
    // Each repeat cancels the transaction of a whole group. Where one was not expected, there are
    // more: those that are left are looked up, too, and all of the next minutes.
    rules.repeats.expectedUntil = rules.now() + expectedMs;
    const left = new Set(groups.flat());
    await leaveOutKnown(left, [...left], ports);
    groups = [...ports.group([...left])];
  }
  for (const [message, error] of failures) {
    const isLast = message.receives >= rules.receivesMax || error instanceof PermanentFailure;
    if (isLast) dead.set(message, `not_counted: ${describe(error)}`);
  }
  const parked = await park(dead, ports.parking);
  const left = [...failures.keys(), ...dead.keys()].filter((message) => !parked.has(message));
  return new Set(left);
}

/** Takes those out that are counted, as far as that is known: they are done with. */
async function leaveOutKnown<Mark, D extends Delivery<Mark>>(
  rest: Set<D>,
  suspects: readonly D[],
  { known }: CountingPorts<Mark, D>,
): Promise<void> {
  if (suspects.length === 0) return;
  const found = await known(suspects).catch(() => new Set<D>());
  for (const delivery of found) rest.delete(delivery);
}

/** So long after its batch came, a chunk is on the queue for the first time, */
const queuedMsMax = 5 * 60_000;
/** or waits there at most, where nothing is behind. */
const waitMsMax = 15 * 60_000;

/** For so long after an unexpected repeat, others are expected. */
const expectedMs = 5 * 60_000;

/** Whether it may well be that the message was counted before. */
function isSuspect(
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

/** Tells messages that can be counted from those that never can. */
function sort<Mark, D extends Delivery<Mark>>(
  messages: readonly QueueMessage[],
  { deliveryOf, nameOf }: CountingPorts<Mark, D>,
  { dayOf, now, ageMsMax, repeats }: CountingRules,
) {
  /** What comes twice at once is one delivery. */
  const countable = new Map<D, QueueMessage[]>();
  const byName = new Map<string, D>();
  const suspects = new Set<D>();
  const dead = new Map<QueueMessage, string>();
  const oldest = now() - ageMsMax;
  for (const message of messages) {
    const reading = readMessage(message.body, dayOf);
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
    const delivery = byName.get(nameOf(made)) ?? made;
    byName.set(nameOf(made), delivery);
    countable.set(delivery, [...(countable.get(delivery) ?? []), message]);
    if (isSuspect(message, reading, now(), repeats)) suspects.add(delivery);
  }
  return { countable, suspects: [...suspects], dead };
}

/**
 * Why it is too late to count what a message asks for, where it is older than `oldest`
 * (milliseconds since 1970).
 */
export function whyTooOld(
  { sentAt, replayedAt }: Pick<QueueMessage, 'sentAt' | 'replayedAt'>,
  reading: Countable,
  oldest: number,
): string | undefined {
  const since = reading.kind === 'chunk' ? (replayedAt ?? reading.receivedAt) : sentAt;
  if (since >= oldest) return undefined;
  return `too_old: it is of ${new Date(since).toISOString()}, and whether that was counted is not known any more`;
}

/**
 * Applies the deliveries in one step, or by halves where they cannot be counted together: one that
 * cannot be counted must not hold back the others.
 */
async function applyGroup<Mark, D extends Delivery<Mark>>(
  group: readonly D[],
  ports: CountingPorts<Mark, D>,
  rules: CountingRules,
): Promise<Applied<D>> {
  const fail = (error: unknown): Applied<D> => ({
    failed: group.map((delivery) => [delivery, error] as const),
    repeated: 0,
  });
  if (rules.now() >= rules.deadline) return fail(new Error('there was no time left for it'));
  try {
    const { early, repeated } = await ports.store.apply(group);
    const failed = early.map(
      (delivery) => [delivery, new Error('something is to come before')] as const,
    );
    return { failed, repeated: repeated.length };
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
  /** Those that are not counted, and why. */
  readonly failed: readonly (readonly [D, unknown])[];
  /** How many were counted before. */
  readonly repeated: number;
}

async function park(
  dead: ReadonlyMap<QueueMessage, string>,
  parking: DeadLetterSink,
): Promise<ReadonlySet<QueueMessage>> {
  // A message that came twice at once is one letter.
  const letters = new Map<string, DeadLetter>();
  for (const [{ messageId, originalId, sentAt, replayedAt, body, firstFailedAt }, reason] of dead) {
    const replayed = replayedAt === undefined ? {} : { replayedAt };
    const letter = { messageId, originalId, sentAt, ...replayed, body, reason, firstFailedAt };
    letters.set(messageId, letter);
  }
  if (letters.size === 0) return new Set();
  const parked = await parking.add([...letters.values()]);
  return new Set([...dead.keys()].filter(({ messageId }) => parked.has(messageId)));
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
