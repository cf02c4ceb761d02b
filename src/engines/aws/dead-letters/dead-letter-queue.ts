import type { DeadLetter, DeadLetterSink } from '../../../pipeline/ports.ts';
import { sendAll, type SqsOptions } from '../queue/send-messages.ts';

/**
 * The message attributes of a dead letter. The processor and the sweep send dead letters here
 * (`dead-letter-once.ts`); operators list, redrive and drop them (`dead-letter-pass.ts`).
 */
export const deadLetterAttributes = {
  reason: 'reason',
  /** The times at which the message was dead-lettered last and first. */
  failedAt: 'failed_at',
  firstFailedAt: 'first_failed_at',
  /** The id and the time of the first message: a redrive sends a new one. */
  originalId: 'original_message_id',
  sentAt: 'original_sent_at',
} as const;

/**
 * The arrival time of a replayed batch, on each of its chunks: their age counts from it. Every copy of
 * a message must carry it.
 */
export const replayedAtAttribute = 'replayed_at';

export function replayedAttribute(replayedAt: number): Record<string, string> {
  return { [replayedAtAttribute]: new Date(replayedAt).toISOString() };
}

/** SQS counts attributes as a part of the message, and refuses control characters in them. */
const reasonCharactersMax = 500;

/** Sends message bodies unchanged to the dead-letter queue, each with its reason. */
export function deadLetterQueue(options: SqsOptions): DeadLetterSink {
  return {
    async add(deadLetters) {
      const { sent } = await sendAll(options, deadLetters.map(messageOf(options.backoff.now())));
      return new Set(deadLetters.filter((_, at) => sent.has(at)).map(({ messageId }) => messageId));
    },
  };
}

function messageOf(now: number) {
  return ({ originalId, sentAt, replayedAt, body, reason, firstFailedAt = now }: DeadLetter) => ({
    body,
    attributes: {
      [deadLetterAttributes.reason]: printable(reason).slice(0, reasonCharactersMax),
      [deadLetterAttributes.failedAt]: new Date(now).toISOString(),
      [deadLetterAttributes.firstFailedAt]: new Date(firstFailedAt).toISOString(),
      [deadLetterAttributes.originalId]: originalId,
      [deadLetterAttributes.sentAt]: new Date(sentAt).toISOString(),
      ...(replayedAt !== undefined && replayedAttribute(replayedAt)),
    },
  });
}

function printable(text: string): string {
  return text.replace(/[^\u0020-\ud7ff\ue000-\ufffd]/g, '\ufffd');
}
