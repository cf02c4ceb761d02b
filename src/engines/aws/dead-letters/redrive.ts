import type { DayOf } from '../../../domain/day.ts';
import { readMessage } from '../../../pipeline/chunks/queue-message.ts';
import { whyTooOld } from '../../../pipeline/counting/count-messages.ts';
import { forEachDeadLetter, type PassOptions, type StoredDeadLetter } from './dead-letter-pass.ts';
import { sendAll, type SqsOptions } from '../queue/send-messages.ts';
import { deadLetterAttributes, replayedAtAttribute } from './dead-letter-queue.ts';

export interface RedriveOptions {
  /** The pass over the dead-letter queue. */
  readonly pass: PassOptions;
  /** The queue to the processor. */
  readonly queue: SqsOptions;
  /** Queues the missing chunks of a whole batch; returns the reason if nothing can be queued. */
  readonly redriveBatch: (rawKey: string) => Promise<string | undefined>;
  readonly dayOf: DayOf;
  /** Older messages may be counted, and their dedup records expired. Milliseconds. */
  readonly ageMsMax: number;
}

interface RedriveReport {
  /** Called once for each chosen dead letter; `left` is the reason if it stays. */
  readonly onDeadLetter: (deadLetter: StoredDeadLetter, left: string | undefined) => void;
}

/**
 * Sends dead letters to the processor again. It deletes a dead letter after the send, so that a
 * kill leaves a second copy at worst; each copy carries the identity of the first message, under
 * which it is counted once. It sends no identity twice in a run: a message that fails again at once
 * would loop.
 */
export async function redriveDeadLetters(
  options: RedriveOptions,
  isChosen: (deadLetter: StoredDeadLetter) => boolean,
  { onDeadLetter }: RedriveReport,
): Promise<{ readonly isMore: boolean }> {
  const tried = new Set<string>();
  return forEachDeadLetter(options.pass, async (deadLetters) => {
    const done = new Set<StoredDeadLetter>();
    const outgoing: StoredDeadLetter[] = [];
    for (const deadLetter of deadLetters.filter(isChosen)) {
      const isAgain = tried.has(deadLetter.id);
      tried.add(deadLetter.id);
      if (isAgain) {
        onDeadLetter(deadLetter, 'sent_already: this run has sent it, or a copy of it');
      } else if (deadLetter.content.kind === 'batch') {
        const reason = await options.redriveBatch(deadLetter.content.rawKey);
        if (reason === undefined) done.add(deadLetter);
        onDeadLetter(deadLetter, reason);
      } else {
        const reason = whyNotAgain(deadLetter, options);
        if (reason === undefined) outgoing.push(deadLetter);
        else onDeadLetter(deadLetter, reason);
      }
    }
    const messages = outgoing.map((deadLetter) => messageOf(deadLetter, options.pass.now()));
    const { sent, error } = await sendAll(options.queue, messages);
    for (const [at, deadLetter] of outgoing.entries()) {
      if (sent.has(at)) done.add(deadLetter);
      const why = error instanceof Error ? error.message : String(error);
      onDeadLetter(deadLetter, sent.has(at) ? undefined : `not_sent: ${why}`);
    }
    return done;
  });
}

/** The rule by which the processor would dead-letter it again. */
function whyNotAgain(
  { body, sentAt, attributes }: StoredDeadLetter,
  { dayOf, ageMsMax, pass }: RedriveOptions,
): string | undefined {
  const reading = readMessage(body, dayOf);
  if (reading.kind === 'unreadable') return undefined;
  const replayedAt = Date.parse(attributes[replayedAtAttribute] ?? '');
  const times = { sentAt, ...(!Number.isNaN(replayedAt) && { replayedAt }) };
  return whyTooOld(times, reading, pass.now() - ageMsMax);
}

function messageOf({ id, body, sentAt, firstFailedAt, attributes }: StoredDeadLetter, now: number) {
  const replayedAt = attributes[replayedAtAttribute];
  return {
    body,
    attributes: {
      [deadLetterAttributes.originalId]: id,
      [deadLetterAttributes.sentAt]: new Date(sentAt).toISOString(),
      // A message that SQS moved has no time of failure; now is its latest possible one.
      [deadLetterAttributes.firstFailedAt]: new Date(firstFailedAt ?? now).toISOString(),
      ...(replayedAt !== undefined && { [replayedAtAttribute]: replayedAt }),
    },
  };
}
