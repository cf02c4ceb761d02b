import { readRawKey, type BatchId } from '../../domain/batch-id.ts';
import { isChunkIndex, readJsonObject } from './queue-message.ts';

/** The subject of a dead letter. */
export type DeadLetterContent =
  | {
      readonly kind: 'chunk';
      readonly batchId: BatchId;
      readonly rawKey: string;
      readonly index: number;
      readonly items: number;
    }
  /** A whole batch whose stored body cannot be cut into chunks. */
  | { readonly kind: 'batch'; readonly batchId: BatchId; readonly rawKey: string }
  /** A message that another program put on the queue. */
  | { readonly kind: 'message' };

const message: DeadLetterContent = { kind: 'message' };

/** The body of a dead letter for a whole batch. */
export function deadLetterBodyOfBatch(rawKey: string): string {
  return JSON.stringify({ raw_key: rawKey });
}

/**
 * Reads the subject of a dead letter from its body. Only the envelope of a chunk is checked: its
 * items or its version may be the reason why it is a dead letter.
 */
export function readDeadLetterContent(body: string): DeadLetterContent {
  const { document } = readJsonObject(body);
  if (document === undefined) return message;
  const { raw_key: rawKey, batch_id: batchId, index, items } = document;
  if (typeof rawKey !== 'string') return message;
  const identity = readRawKey(rawKey);
  if (identity === undefined) return message;
  if (body === deadLetterBodyOfBatch(rawKey))
    return { kind: 'batch', batchId: identity.batchId, rawKey };
  const isChunk = batchId === identity.batchId && Array.isArray(items) && isChunkIndex(index);
  return isChunk ? { kind: 'chunk', batchId, rawKey, index, items: items.length } : message;
}
