import type { ContentEncoding } from '../pipeline/ports.ts';

/** What a line of `raw list` and of `batches.ndjson` tells. */
export interface ListedBatch {
  readonly rawKey: string;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  /** Of the body as it came. */
  readonly bytes: number;
  /** Undefined where that was not asked for. */
  readonly details?: {
    readonly encoding: ContentEncoding;
    readonly accepted: number;
    readonly rejected: number;
  };
}

/** A line of JSON. */
export function batchLine({ rawKey, receivedAt, bytes, details }: ListedBatch): string {
  const received = new Date(receivedAt).toISOString();
  return JSON.stringify({ raw_key: rawKey, received_at: received, bytes, ...details });
}
