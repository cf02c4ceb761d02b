import type { DayOf } from '../../../domain/day.ts';
import { readMessage } from '../../../pipeline/chunks/queue-message.ts';
import { whyTooOld } from '../../../pipeline/counting/count-messages.ts';
import { forEachDeadLetter, type PassOptions, type StoredDeadLetter } from './dead-letter-pass.ts';
import { sendAll, type SqsOptions } from '../queue/send-messages.ts';
import { deadLetterAttributes, replayedAtAttribute } from './dead-letter-queue.ts';

export interface RedriveOptions {
  /** Over the dead-letter queue. */
  readonly pass: PassOptions;
  /** The queue to the processor. */
  readonly queue: SqsOptions;
  /**
   * Queues again what is missing of a batch as a whole; returns why nothing of it can be, where
   * that is so.
   */
  readonly redriveBatch: (rawKey: string) => Promise<string | undefined>;
  readonly dayOf: DayOf;
  /** What is older might have been counted and its mark be gone; milliseconds. */
  readonly ageMsMax: number;
}

export interface RedriveReport {
  /** Is told of each chosen letter once; `left` says why it stays where it is. */
  readonly onLetter: (letter: StoredDeadLetter, left: string | undefined) => void;
}

/**
 * Sends dead letters to the processor again. A letter is deleted when it surely was sent, so that a
 * kill leaves a second copy at worst; each copy carries the identity of the first message, under
 * which it is counted once. No identity is sent twice in a run, or those that come back at once
 * would go round.
 */
export async function redriveDeadLetters(
  options: RedriveOptions,
  isChosen: (letter: StoredDeadLetter) => boolean,
  { onLetter }: RedriveReport,
): Promise<{ readonly isMore: boolean }> {
  const tried = new Set<string>();
  return forEachDeadLetter(options.pass, async (letters) => {
    const done = new Set<StoredDeadLetter>();
    const outgoing: StoredDeadLetter[] = [];
    for (const letter of letters.filter(isChosen)) {
      const isAgain = tried.has(letter.id);
      tried.add(letter.id);
      if (isAgain) {
        onLetter(letter, 'sent_already: it, or a copy of it, was sent just now');
      } else if (letter.content.kind === 'batch') {
        const reason = await options.redriveBatch(letter.content.rawKey);
        if (reason === undefined) done.add(letter);
        onLetter(letter, reason);
      } else {
        const reason = whyNotAgain(letter, options);
        if (reason === undefined) outgoing.push(letter);
        else onLetter(letter, reason);
      }
    }
    const messages = outgoing.map((letter) => messageOf(letter, options.pass.now()));
    const { sent, error } = await sendAll(options.queue, messages);
    for (const [at, letter] of outgoing.entries()) {
      if (sent.has(at)) done.add(letter);
      const why = error instanceof Error ? error.message : String(error);
      onLetter(letter, sent.has(at) ? undefined : `not_sent: ${why}`);
    }
    return done;
  });
}

/** The very rule by which the processor would put it away again. */
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
      // What SQS moved failed some time before now: no later time is to stand there.
      [deadLetterAttributes.firstFailedAt]: new Date(firstFailedAt ?? now).toISOString(),
      ...(replayedAt !== undefined && { [replayedAtAttribute]: replayedAt }),
    },
  };
}
