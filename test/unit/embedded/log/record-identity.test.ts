import { randomBytes } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import { batchIdAtPosition, batchIdMaker, formatBatchId } from '../../../../src/domain/batch-id.ts';
import { assignedPosition } from '../../../../src/engines/embedded/log/record-identity.ts';

const receivedAt = Date.UTC(2026, 10, 30);

describe('the position that a log has assigned', () => {
  it('is in each id of the embedded engine, however large', () => {
    for (const position of [0, 1, 2 ** 32, receivedAt - 1, receivedAt + 1, 2 ** 48 - 1]) {
      const batchId = formatBatchId(batchIdAtPosition(position, randomBytes(10)));
      expect(assignedPosition({ batchId, receivedAt })).toBe(position);
    }
  });

  it('is in no id of the AWS engine, which may have the time of receipt there', () => {
    const make = batchIdMaker(randomBytes);
    for (const batchId of [make(receivedAt), make(receivedAt, 1)]) {
      const at = Number.parseInt(batchId.slice(0, 8) + batchId.slice(9, 13), 16);
      expect(assignedPosition({ batchId, receivedAt: at })).toBeUndefined();
    }
  });
});
