import { gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import { batchIdMaker } from '../../../src/domain/batch-id.ts';
import { earlierCarriedId } from '../../support/aws/earlier-ids.ts';
import {
  carriedChunk,
  carriedIdentity,
  isCarriedRecord,
  fitsIntoOneMessage,
} from '../../../src/engines/aws/intake/carried.ts';

const now = Date.UTC(2026, 10, 30);
const make = batchIdMaker((count) => Buffer.alloc(count, 1));
const made = {
  batchId: make(now),
  receivedAt: now,
  itemsPerMessage: Number.POSITIVE_INFINITY,
};
const bodySha256 = new Uint8Array(32);
const body = Buffer.from('{}');
const chunk = { batchId: made.batchId, index: 0, message: 'of items' } as never;

describe('a carried batch', () => {
  it('is known by its id, with its number of items and its time', () => {
    const identity = carriedIdentity(make(now, 3));
    expect(isCarriedRecord({ ...identity, bodySha256 }, 3)).toBe(true);
    const raw = { ...identity, accepted: 3, body, encoding: 'identity' } as const;
    expect(carriedChunk(raw, [chunk])).toMatchObject({
      message: expect.stringContaining('sha256') as string,
    });
  });

  it('is not one whose id has the mark by chance, such as that of an earlier version', () => {
    const marked = { ...made, batchId: earlierCarriedId(made.batchId, 7) };
    for (const [record, accepted] of [
      [marked, 3],
      [{ ...marked, receivedAt: now + 1 }, 7],
    ] as const) {
      expect(isCarriedRecord({ ...record, bodySha256 }, accepted)).toBe(false);
      const raw = { ...record, accepted, body, encoding: 'identity' } as const;
      expect(carriedChunk(raw, [chunk])).toBeUndefined();
    }
  });

  it('does not inflate to much more, because one invocation reads hundreds', () => {
    const identity = carriedIdentity(make(now, 1));
    const item = { type: 'a', state: 'b', timestamp: '2026-11-30T00:00:00Z' };
    const madeOf = (padding: number) => {
      const text = JSON.stringify({ processed_devices: [{ ...item, more: 'x'.repeat(padding) }] });
      const small = { body: gzipSync(text), encoding: 'gzip', accepted: 1, rejected: 0 } as const;
      const others = { caller: '', idempotency: undefined, increments: new Map() };
      return [
        fitsIntoOneMessage({ ...small, ...others }, identity, (date) => date),
        carriedChunk({ ...small, ...identity }, [chunk]) !== undefined,
      ];
    };
    expect(madeOf(100_000)).toEqual([true, true]);
    expect(madeOf(200_000)).toEqual([false, false]);
  });

  it('is not a replayed one, which has an object', () => {
    const identity = carriedIdentity(make(now, 3));
    expect(isCarriedRecord({ ...identity, bodySha256, replayedAt: now }, 3)).toBe(false);
  });
});
