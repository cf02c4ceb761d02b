import { randomUUID } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  batchIdAtPosition,
  formatBatchId,
  positionMax,
  positionOfBatchId,
  rawKeyOf,
  readRawKey,
} from '../../../src/domain/batch-id.ts';

const places = fc.oneof(
  fc.integer({ min: 0, max: positionMax }),
  fc.constantFrom(0, 1, 2 ** 16, 2 ** 32 - 1, 2 ** 32, positionMax),
);
const random = fc.uint8Array({ minLength: 10, maxLength: 10 });
const ids = fc
  .tuple(places, random)
  .map(([place, bytes]) => formatBatchId(batchIdAtPosition(place, bytes)));
/** From the year 1970 to 9999. */
const times = fc.integer({ min: 0, max: Date.parse('9999-12-31T23:59:59.999Z') });

describe('a batch id', () => {
  it('is a UUID of version 8 and the variant of RFC 9562, in lower case', () => {
    fc.assert(
      fc.property(ids, (id) => {
        expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      }),
    );
  });

  it('carries its place in the log, whatever the random bytes', () => {
    fc.assert(
      fc.property(places, random, (place, bytes) => {
        expect(positionOfBatchId(formatBatchId(batchIdAtPosition(place, bytes)))).toBe(place);
      }),
    );
  });

  it('differs with each of 74 of the 80 random bits; six say version and variant', () => {
    const bytes = Uint8Array.from({ length: 10 }, (_, index) => 37 * index);
    const id = formatBatchId(batchIdAtPosition(42, bytes));
    const without = Array.from({ length: 80 }, (_, bit) => bit).filter((bit) => {
      const flipped = bytes.map((byte, at) =>
        at === bit >> 3 ? byte ^ (0x80 >> (bit & 7)) : byte,
      );
      return formatBatchId(batchIdAtPosition(42, flipped)) === id;
    });
    expect(without).toEqual([0, 1, 2, 3, 16, 17]);
  });

  it('is written from bytes that are a part of a larger buffer', () => {
    const bytes = Uint8Array.from({ length: 20 }, (_, index) => index);
    expect(formatBatchId(bytes.subarray(2, 18))).toBe('02030405-0607-0809-0a0b-0c0d0e0f1011');
  });

  it.each([
    randomUUID(),
    '',
    '00000000-002a-8abc-9def-00000000000',
    '00000000-002a-8abc-9def-0000000000000',
    '00000000-002A-8ABC-9DEF-000000000001',
    '00000000002a8abc9def000000000001',
    '{00000000-002a-8abc-9def-000000000001}',
    '00000000-002a-8abc-9def-00000000000g',
    '00000000-002a-8abc-9def-000000000001\n',
  ])('%j carries no place', (id) => {
    expect(positionOfBatchId(id)).toBeUndefined();
  });
});

describe('a raw key', () => {
  it('says when the batch was received and whose it is', () => {
    const id = '00000000-002a-8abc-9def-000000000001';
    expect(rawKeyOf(id, Date.UTC(2023, 5, 16, 13, 0, 0, 7))).toBe(
      `raw/2023-06-16T13:00:00.007Z-${id}.json`,
    );
  });

  it('is read back into what it was made from', () => {
    fc.assert(
      fc.property(ids, times, (batchId, receivedAt) => {
        expect(readRawKey(rawKeyOf(batchId, receivedAt))).toEqual({ batchId, receivedAt });
      }),
    );
  });

  it('made of a UUID of another version is one too', () => {
    const batchId = randomUUID();
    expect(readRawKey(rawKeyOf(batchId, 0))).toEqual({ batchId, receivedAt: 0 });
  });

  const id = '00000000-002a-8abc-9def-000000000001';
  it.each([
    '',
    'raw/',
    `2023-06-16T13:00:00.007Z-${id}.json`,
    `/raw/2023-06-16T13:00:00.007Z-${id}.json`,
    `raw/2023-06-16T13:00:00.007Z-${id}`,
    `raw/2023-06-16T13:00:00.007Z-${id}.json\n`,
    `raw/2023-06-16T13:00:00.007Z-${id}.json.gz`,
    `raw/2023-06-16T13:00:00Z-${id}.json`,
    `raw/2023-06-16T13:00:00.007+00:00-${id}.json`,
    `raw/2023-06-16T13:00:00.007Z-${id.replace('-', '0')}.json`,
    `raw/2023-06-16T13:00:00.007Z-${id.toUpperCase()}.json`,
    `raw/2023-13-16T13:00:00.007Z-${id}.json`,
    `raw/../2023-06-16T13:00:00.007Z-${id}.json`,
  ])('%j is none', (text) => {
    expect(readRawKey(text)).toBeUndefined();
  });

  it.each([
    ['a day that no calendar has', '2023-02-30T00:00:00.000Z'],
    ['the hour 24', '2023-02-28T24:00:00.000Z'],
  ])('with %s is none: it would name the same batch as another key', (_, received) => {
    expect(readRawKey(`raw/${received}-${id}.json`)).toBeUndefined();
  });
});
