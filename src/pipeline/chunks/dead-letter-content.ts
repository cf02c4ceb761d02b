import { rawKeyOf, readRawKey, type BatchId } from '../../domain/batch-id.ts';
import { isCarried, readCarriedBatch, type CarriedBatch } from './carried-batch.ts';
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
  const carried = carriedIn(body);
  if (carried !== undefined) return carriedContent(carried);
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

/** The batch whose body the message carries; undefined if it carries none. */
export function carriedIn(body: string): CarriedBatch | undefined {
  const { document } = readJsonObject(body);
  if (document === undefined || !isCarried(document)) return undefined;
  const reading = readCarriedBatch(document);
  return 'carried' in reading ? reading.carried : undefined;
}

function carriedContent({ batchId, receivedAt, accepted: items }: CarriedBatch): DeadLetterContent {
  return { kind: 'chunk', batchId, rawKey: rawKeyOf(batchId, receivedAt), index: 0, items };
}
