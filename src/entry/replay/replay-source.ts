import { readRawKey } from '../../domain/batch-id.ts';
import type { BatchDetails, ContentEncoding, ReplayOrigin } from '../../pipeline/ports.ts';

/** A batch with everything that is replayed with it. */
export interface SourceBatch {
  readonly rawKey: string;
  readonly body: Uint8Array;
  readonly encoding: ContentEncoding;
  /** Empty if unknown. */
  readonly caller: string;
  readonly idempotencyKey: string | undefined;
  readonly replayOf: ReplayOrigin;
}

export type SourceEntry =
  | {
      readonly kind: 'batch';
      readonly rawKey: string;
      /** How far the source is read after this batch, in the unit of `ReplaySource.total`. */
      readonly at: number;
      readonly load: () => Promise<SourceBatch>;
    }
  /** Not counted in the source, and so not replayed. */
  | { readonly kind: 'dead_letter'; readonly rawKey: string }
  /** Batches that the source no longer has. */
  | { readonly kind: 'missing'; readonly detail: string };

export interface ReplaySource {
  /** The day rule; undefined if unknown. */
  readonly dayZone: string | undefined;
  /** The final value of `at`, for progress; undefined if unknown. */
  readonly total: number | undefined;
  batches(): AsyncGenerator<SourceEntry, void>;
  /** Whether the batches had idempotency keys, known after all are read. */
  hasKeys(): boolean;
  close(): void;
}

/** @throws if it is not a raw key. */
export function sourceBatch(rawKey: string, body: Uint8Array, details: BatchDetails): SourceBatch {
  const { encoding, caller = '', idempotencyKey, accepted, rejected, excluded, logId } = details;
  const identity = readRawKey(rawKey);
  if (identity === undefined) throw new Error(`${rawKey} is not a raw key.`);
  const replayOf = {
    ...{ ...identity, accepted, rejected },
    ...(excluded !== undefined && { excluded }),
    ...(logId !== undefined && { logId }),
  };
  return { rawKey, body, encoding, caller, idempotencyKey, replayOf };
}
