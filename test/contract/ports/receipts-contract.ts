import { randomBytes, randomUUID } from 'node:crypto';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import {
  batchIdAtPosition,
  formatBatchId,
  positionMax,
  rawKeyOf,
} from '../../../src/domain/batch-id.ts';
import type { Batch, Receipts, StoredBatch } from '../../../src/pipeline/ports.ts';
import { batchOf, itemOf } from './intake-contract.ts';

export interface ReceiptsHarness {
  readonly receipts: Receipts;
  /** Whether the id of a small batch is its receipt until it is counted, as is any id of that form. */
  readonly readsIds?: boolean;
  /** Takes a batch in. */
  put(batch: Batch): Promise<StoredBatch>;
  /** Counts all that is queued. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** What every `Receipts` promises. */
export function describeReceipts(name: string, open: () => Promise<ReceiptsHarness>): void {
  describe(`${name} as receipts`, () => {
    let engine: ReceiptsHarness;
    beforeEach(async () => {
      engine = await open();
    });
    afterEach(() => engine.close());

    const refusedToo = Buffer.from(
      `{"processed_devices":[${JSON.stringify(itemOf(0))},{"type":""},${JSON.stringify(itemOf(1))}]}`,
    );
    const batches = [
      { batch: batchOf([itemOf(0)]), enqueued: 1, rejected: 0 },
      { batch: batchOf([], { body: refusedToo }), enqueued: 2, rejected: 1 },
      { batch: batchOf([]), enqueued: 0, rejected: 0 },
      {
        batch: batchOf([itemOf(0)], { key: 'key', caller: 'me', gzip: true }),
        enqueued: 1,
        rejected: 0,
      },
    ];

    it('show each batch as pending until it is counted', async () => {
      const stored: StoredBatch[] = [];
      for (const { batch } of batches) stored.push(await engine.put(batch));
      const receiptOf = (index: number) => engine.receipts.find(stored[index]?.batchId ?? '');
      const expected = (index: number, isCounted: boolean) => {
        const { batchId, receivedAt } = stored[index] ?? { batchId: '', receivedAt: 0 };
        const { enqueued = 0, rejected } = batches[index] ?? {};
        return {
          status: isCounted ? 'counted' : 'pending',
          rawKey: rawKeyOf(batchId, receivedAt),
          enqueued,
          counted: isCounted ? enqueued : 0,
          rejected,
          receivedAt,
        };
      };
      for (const index of batches.keys()) {
        // One without items has nothing to be counted: it may be done with at once.
        const isEmpty = batches[index]?.enqueued === 0;
        const { status } = isEmpty ? ((await receiptOf(index)) ?? {}) : { status: 'pending' };
        expect(await receiptOf(index)).toEqual(expected(index, status === 'counted'));
      }
      await engine.drain();
      for (const index of batches.keys())
        expect(await receiptOf(index)).toEqual(expected(index, true));
      // Later batches are pending again, and do not change the counted ones.
      stored.push(await engine.put(batchOf([itemOf(0)])));
      expect(await receiptOf(batches.length)).toMatchObject({ status: 'pending', enqueued: 1 });
      for (const index of batches.keys())
        expect(await receiptOf(index)).toEqual(expected(index, true));
    });

    it('know no id that was never given', async () => {
      const { batchId } = await engine.put(batchOf([itemOf(0)]));
      await engine.put(batchOf([itemOf(1)]));
      expect(await engine.receipts.find(batchId)).toBeDefined();
      const unknown = [
        '',
        'x',
        batchId.slice(1),
        `${batchId}0`,
        `${batchId}\n`,
        batchId.toUpperCase(),
        batchId.replaceAll('-', ''),
        '00000000-0000-0000-0000-000000000000',
        'ffffffff-ffff-ffff-ffff-ffffffffffff',
        randomUUID(),
        '../../../etc/passwd',
        "' OR 1 = 1 --",
        // The same digits under every other version, and every digit but one.
        ...Array.from('0123456789abcdef').map(
          (version) => batchId.slice(0, 14) + version + batchId.slice(15),
        ),
        ...Array.from({ length: 36 }, (_, at) => {
          const digit = batchId.charAt(at) === '0' ? '1' : '0';
          return batchId.slice(0, at) + digit + batchId.slice(at + 1);
        }),
        // Of the form that carries a place in a log, wherever that may be.
        ...[0, 1, 63, 64, 65, 1000, 2 ** 31, 2 ** 32, 2 ** 40, positionMax - 1, positionMax].map(
          (place) => formatBatchId(batchIdAtPosition(place, randomBytes(10))),
        ),
      ];
      for (const id of unknown.filter((each) => each !== batchId)) {
        const receipt = await engine.receipts.find(id);
        if (receipt === undefined) continue;
        expect(engine.readsIds === true ? receipt.status : undefined, id).toBe('pending');
        expect(id).toMatch(/^.{14}[78].{3}-bf/);
      }
    });
  });
}
