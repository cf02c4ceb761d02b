import type { SQSClient } from '@aws-sdk/client-sqs';

import type { DayOf } from '../../../domain/day.ts';
import { readMessage } from '../../../pipeline/chunks/queue-message.ts';
import type { ChunkId } from '../ledger/ledger-rows.ts';
import { messagesIn } from '../queue/queue-depth.ts';
import { forEachDeadLetter } from './dead-letter-pass.ts';

/** An audit looks at no more dead letters. */
const deadLettersMax = 10_000;

/** The chunks among the dead letters. The dead letters stay in their queue. */
export async function deadChunks(
  client: Pick<SQSClient, 'send'>,
  queueUrl: string,
  dayOf: DayOf,
  now: () => number,
): Promise<readonly ChunkId[]> {
  // Receiving from an empty queue would wait.
  if ((await messagesIn(client, queueUrl)) === 0) return [];
  const chunks: ChunkId[] = [];
  const options = { client, queueUrl, now, limit: deadLettersMax, waitSeconds: 1 };
  await forEachDeadLetter(options, (deadLetters) => {
    for (const { body } of deadLetters) {
      const reading = readMessage(body, dayOf);
      if (reading.kind !== 'chunk') continue;
      chunks.push({ batchId: reading.batchId, index: reading.index });
    }
    return Promise.resolve(new Set());
  });
  return chunks;
}
