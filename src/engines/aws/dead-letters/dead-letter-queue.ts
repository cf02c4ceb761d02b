import type { DeadLetter, DeadLetterSink } from '../../../pipeline/ports.ts';
import { sendAll, type SqsOptions } from '../queue/send-messages.ts';

/** The attributes by which a dead letter tells what became of it. */
export const deadLetterAttributes = {
  reason: 'reason',
  /** When it was put there this time, and the first time. */
  failedAt: 'failed_at',
  firstFailedAt: 'first_failed_at',
  /** A redrive gives a message another id. By this it is known for the one it was. */
  originalId: 'original_message_id',
  /** And by this for as old as it is. */
  sentAt: 'original_sent_at',
} as const;

/**
 * Of a chunk of a batch from another installation: when it came here. By this it is known for not
 * too old to be counted; whoever sends it on sends this too.
 */
export const replayedAtAttribute = 'replayed_at';

export function replayedAttribute(replayedAt: number): Record<string, string> {
  return { [replayedAtAttribute]: new Date(replayedAt).toISOString() };
}

/** SQS counts attributes as a part of the message, and refuses control characters in them. */
const reasonCharactersMax = 500;

/** The dead-letter queue: bodies as they came, each with why it was put there. */
export function deadLetterQueue(options: SqsOptions): DeadLetterSink {
  return {
    async add(letters) {
      const { sent } = await sendAll(options, letters.map(messageOf(options.backoff.now())));
      return new Set(letters.filter((_, at) => sent.has(at)).map(({ messageId }) => messageId));
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
