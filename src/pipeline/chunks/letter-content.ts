import { isNestedDeeperThan } from '../../domain/fast/json-depth.ts';
import { jsonDepthMax } from '../../domain/batch.ts';
import { readRawKey, type BatchId } from '../../domain/batch-id.ts';
import { chunkIndexMax } from './queue-message.ts';

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
  if (isNestedDeeperThan(Buffer.from(body), jsonDepthMax)) return message;
  let document: unknown;
  try {
    document = JSON.parse(body);
  } catch {
    return message;
  }
  if (typeof document !== 'object' || document === null) return message;
  const { raw_key: rawKey, batch_id: batchId, index, items } = document as Record<string, unknown>;
  if (typeof rawKey !== 'string') return message;
  const identity = readRawKey(rawKey);
  if (identity === undefined) return message;
  if (body === deadLetterBodyOfBatch(rawKey))
    return { kind: 'batch', batchId: identity.batchId, rawKey };
  const isChunk =
    batchId === identity.batchId &&
    Array.isArray(items) &&
    Number.isInteger(index) &&
    (index as number) >= 0 &&
    (index as number) <= chunkIndexMax;
  if (!isChunk) return message;
  return { kind: 'chunk', batchId, rawKey, index: index as number, items: items.length };
}
