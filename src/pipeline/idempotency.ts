import { hash } from 'node:crypto';

import type { EarlierBatch, Idempotency } from './ports.ts';

/*
 * When the response to a batch is lost, the client sends the batch again with the same key. `ingest` then
 * finds the earlier batch (`Intake.recall`, and `Intake.accept` for simultaneous attempts) and gives its
 * response again.
 */

/** The key of a batch with the hash of its inflated body; undefined without a key. */
export function idempotencyOf(key: string | undefined, body: Uint8Array): Idempotency | undefined {
  return key === undefined ? undefined : { key, bodySha256: hash('sha256', body, 'buffer') };
}

/** Whether a batch has the body of the earlier batch with its key, which makes it a retry. */
export function isRetryOf(
  { bodySha256 }: Pick<EarlierBatch, 'bodySha256'>,
  batch: Pick<Idempotency, 'bodySha256'> | undefined,
): boolean {
  return batch !== undefined && Buffer.compare(bodySha256, batch.bodySha256) === 0;
}
