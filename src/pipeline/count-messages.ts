import type { DayOf } from '../domain/day.ts';
import { readMessage, type MessageReading } from '../domain/queue-message.ts';
import {
  NotCountable,
  type CounterStore,
  type Delivery,
  type Letter,
  type Parking,
} from './ports.ts';

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
  /** Puts deliveries together that one transaction can take. */
  readonly group: (deliveries: readonly D[]) => readonly (readonly D[])[];
  readonly parking: Parking;
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
  const { countable, dead } = sort(messages, ports, rules);
  const failures = new Map<QueueMessage, unknown>();
  // One after the other: transactions at the same time would meet at the same counters.
  for (const group of ports.group([...countable.keys()])) {
    for (const [delivery, error] of await applyGroup(group, ports, rules)) {
      const message = countable.get(delivery);
      if (message !== undefined) failures.set(message, error);
    }
  }
  for (const [message, error] of failures) {
    const isLast = message.receives >= rules.receivesMax || error instanceof NotCountable;
    if (isLast) dead.set(message, `not_counted: ${describe(error)}`);
  }
  const parked = await park(dead, ports.parking);
  const left = [...failures.keys(), ...dead.keys()].filter((message) => !parked.has(message));
  return new Set(left);
}

/** Tells messages that can be counted from those that never can. */
function sort<Mark, D extends Delivery<Mark>>(
  messages: readonly QueueMessage[],
  { deliveryOf }: CountingPorts<Mark, D>,
  { dayOf, now, ageMsMax }: CountingRules,
) {
  const countable = new Map<D, QueueMessage>();
  const dead = new Map<QueueMessage, string>();
  const oldest = now() - ageMsMax;
  for (const message of messages) {
    const reading = readMessage(message.body, dayOf);
    if (reading.kind === 'unreadable') {
      dead.set(message, reading.reason);
      continue;
    }
    const reason = whyTooOld(message, reading, oldest);
    if (reason === undefined) countable.set(deliveryOf(message, reading), message);
    else dead.set(message, reason);
  }
  return { countable, dead };
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
 * cannot be counted must not hold back the others. Returns those that failed, and why.
 */
async function applyGroup<Mark, D extends Delivery<Mark>>(
  group: readonly D[],
  ports: CountingPorts<Mark, D>,
  rules: CountingRules,
): Promise<readonly (readonly [D, unknown])[]> {
  const fail = (error: unknown) => group.map((delivery) => [delivery, error] as const);
  if (rules.now() >= rules.deadline) return fail(new Error('there was no time left for it'));
  try {
    const { early } = await ports.store.apply(group);
    return early.map((delivery) => [delivery, new Error('something is to come before')] as const);
  } catch (error) {
    if (!(error instanceof NotCountable) || group.length === 1) return fail(error);
    const half = Math.ceil(group.length / 2);
    return [
      ...(await applyGroup(group.slice(0, half), ports, rules)),
      ...(await applyGroup(group.slice(half), ports, rules)),
    ];
  }
}

async function park(
  dead: ReadonlyMap<QueueMessage, string>,
  parking: Parking,
): Promise<ReadonlySet<QueueMessage>> {
  // A message that came twice at once is one letter.
  const letters = new Map<string, Letter>();
  for (const [{ messageId, originalId, sentAt, replayedAt, body, firstFailedAt }, reason] of dead) {
    const replayed = replayedAt === undefined ? {} : { replayedAt };
    const letter = { messageId, originalId, sentAt, ...replayed, body, reason, firstFailedAt };
    letters.set(messageId, letter);
  }
  if (letters.size === 0) return new Set();
  const parked = await parking.park([...letters.values()]);
  return new Set([...dead.keys()].filter(({ messageId }) => parked.has(messageId)));
}

function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
