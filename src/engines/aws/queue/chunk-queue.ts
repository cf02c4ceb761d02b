import type { Chunk } from '../../../pipeline/chunks/chunk.ts';
import type { ChunkQueue } from '../../../pipeline/ports.ts';
import { replayedAttribute } from '../dead-letters/dead-letter-queue.ts';
import { sendAll, type SqsOptions } from './send-messages.ts';

/** The queue to the processor, one message for each chunk. */
export function sqsChunkQueue(options: SqsOptions): ChunkQueue {
  return {
    async send(chunks: readonly Chunk[]) {
      const messages = chunks.map(({ message, replayedAt }) => ({
        body: message,
        ...(replayedAt !== undefined && { attributes: replayedAttribute(replayedAt) }),
      }));
      const { sent, error } = await sendAll(options, messages);
      if (sent.size === chunks.length) return;
      const left = chunks.length - sent.size;
      throw new Error(`SQS did not accept ${left} of ${chunks.length} messages`, { cause: error });
    },
  };
}
