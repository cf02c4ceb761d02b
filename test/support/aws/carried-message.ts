import { randomBytes } from 'node:crypto';

import { batchIdMaker, readCarriedBatchId } from '../../../src/domain/batch-id.ts';
import { carriedMessage } from '../../../src/pipeline/chunks/carried-batch.ts';

/** A message that carries the only copy of a batch with one item, received now. */
export function messageWithBody(item: object): string {
  const body = Buffer.from(JSON.stringify({ processed_devices: [item] }));
  const batchId = batchIdMaker(randomBytes)(Date.now(), 1);
  const { receivedAt = 0 } = readCarriedBatchId(batchId) ?? {};
  const known = { batchId, receivedAt, accepted: 1, rejected: 0, encoding: 'identity' } as const;
  return carriedMessage({ ...known, body });
}
