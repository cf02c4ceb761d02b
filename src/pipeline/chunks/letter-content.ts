import { isNestedDeeperThan } from '../../domain/fast/json-depth.ts';
import { jsonDepthMax } from '../../domain/batch.ts';
import { readRawKey, type BatchId } from '../../domain/batch-id.ts';
import { chunkIndexMax } from './queue-message.ts';

/** What a dead letter is about. */
export type DeadLetterContent =
  | {
      readonly kind: 'chunk';
      readonly batchId: BatchId;
      readonly rawKey: string;
      readonly index: number;
      readonly items: number;
    }
  /** A whole batch, of whose stored body no chunks can be made. */
  | { readonly kind: 'batch'; readonly batchId: BatchId; readonly rawKey: string }
  /** What somebody else put on the queue. */
  | { readonly kind: 'message' };

const message: DeadLetterContent = { kind: 'message' };

/** The body of the letter that stands for a whole batch. */
export function deadLetterBodyOfBatch(rawKey: string): string {
  return JSON.stringify({ raw_key: rawKey });
}

/**
 * Reads what the body of a dead letter says of itself. A chunk is known by its envelope: its items,
 * or its version, may be what it is dead for.
 */
export function readDeadLetterContent(body: string): DeadLetterContent {
  if (isNestedDeeperThan(Buffer.from(body), jsonDepthMax)) return message;
  let document: unknown;
  try {
    document = JSON.parse(body);
  } catch {
    // Whatever it is, it is not ours.
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
