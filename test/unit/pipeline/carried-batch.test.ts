import { gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import {
  batchIdAtPosition,
  batchIdInBlock,
  batchIdMaker,
  blockIdsMax,
  formatBatchId,
  positionMax,
  placeInBlock,
  readCarriedBatchId,
  timeOfBatchId,
} from '../../../src/domain/batch-id.ts';
import { dayRule } from '../../../src/domain/day.ts';
import {
  carriedMessage,
  mayBeCarried,
  type CarriedBatch,
} from '../../../src/pipeline/chunks/carried-batch.ts';
import {
  carriedIn,
  readDeadLetterContent,
} from '../../../src/pipeline/chunks/dead-letter-content.ts';
import { readMessage } from '../../../src/pipeline/chunks/queue-message.ts';
import type { Batch } from '../../../src/pipeline/ports.ts';
import { earlierCarriedId } from '../../support/aws/earlier-ids.ts';
import { randomFrom } from '../../model/simulated-aws/aws-random.ts';

const now = Date.UTC(2026, 10, 29, 12);
const random = randomFrom(1);
const makeBatchId = batchIdMaker((count) => random.bytes(count));
const dayOf = dayRule('as-written');
const item = { type: 'lamp', state: 'on', timestamp: '2023-06-16T13:00:00Z' };
const bodyOf = (...items: object[]) => Buffer.from(JSON.stringify({ processed_devices: items }));

function batchOf(body: Uint8Array, more: Partial<CarriedBatch> = {}): CarriedBatch {
  const accepted = more.accepted ?? 1;
  const batchId = makeBatchId(now, accepted);
  const { receivedAt = 0 } = readCarriedBatchId(batchId) ?? {};
  const known = { batchId, receivedAt, accepted, rejected: 0, sha256: '' } as const;
  return { ...known, encoding: 'identity', body, ...more };
}

describe('the id of a carried batch', () => {
  it('says so, how many items it has and when it was received', () => {
    for (const items of [1, 2, 128, 255]) {
      const id = makeBatchId(now, items);
      expect(readCarriedBatchId(id)).toEqual({ items, receivedAt: now });
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-bf[0-9a-f]{2}-[0-9a-f]{12}$/);
      const earlier = earlierCarriedId(makeBatchId(now), items);
      expect(readCarriedBatchId(earlier)).toEqual({ items, receivedAt: now });
    }
  });

  it('keeps the order of ids, also among others, within a millisecond and if the clock goes back', () => {
    const times = Array.from({ length: 9_000 }, (_, at) => now + (at % 3 === 0 ? -at : at >> 8));
    const maker = batchIdMaker((count) => random.bytes(count));
    const ids = times.map((at) => maker(at, random.chance(0.5) ? 7 : undefined));
    const bySequence = ids.map((id) => id.slice(0, 13) + id.slice(15, 18));
    expect([...bySequence].sort()).toEqual(bySequence);
    expect(new Set(bySequence).size).toBe(ids.length);
  });

  it('is none that other batches get', () => {
    const maker = batchIdMaker(() => Buffer.alloc(8, 0xff));
    expect(readCarriedBatchId(maker(now))).toBeUndefined();
    for (const id of ['', 'x', '00000000-0000-4000-bf01-000000000000', `${maker(now)}0`]) {
      expect(readCarriedBatchId(id)).toBeUndefined();
    }
    expect(readCarriedBatchId(maker(now, 0))).toBeUndefined();
  });

  it('is never one of the embedded engine, for any log size and any random bytes', () => {
    const marked = Buffer.alloc(10, 0xff);
    for (const position of [0, 2 ** 32, 1.5e12, 1.6e12, now, positionMax]) {
      const id = formatBatchId(batchIdAtPosition(position, marked));
      expect([readCarriedBatchId(id), placeInBlock(id), timeOfBatchId(id)]).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
    }
  });
});

describe('the place of an id in a block', () => {
  it('is the id in another form', () => {
    for (let at = 0; at < 1_000; at++) {
      const make = batchIdMaker((count) => random.bytes(count));
      const id = make(now + random.below(2 ** 40), 1 + random.below(255));
      const place = placeInBlock(id) ?? expect.fail(id);
      expect(place.number).toBeLessThan(2 ** 36);
      expect(batchIdInBlock(place)).toBe(id);
    }
  });

  it('is in the same block for a hundred ids of a maker within a minute, and not for more', () => {
    const maker = batchIdMaker((count) => random.bytes(count));
    const other = batchIdMaker((count) => random.bytes(count));
    const start = Math.ceil(now / 2 ** 16) * 2 ** 16;
    const blocks = Array.from({ length: 3 * blockIdsMax }, (_, at) => {
      // Others do not use up numbers.
      maker(start + at);
      return placeInBlock(maker(start + at, 1))?.block;
    });
    const sizes = [...Map.groupBy(blocks, (block) => block).values()].map(({ length }) => length);
    expect(sizes).toEqual([blockIdsMax, blockIdsMax, blockIdsMax]);
    expect(blocks).not.toContain(placeInBlock(other(start, 1))?.block);
    expect(placeInBlock(maker(start + 2 ** 16, 1))?.block).not.toBe(
      placeInBlock(maker(start + 2 ** 17, 1))?.block,
    );
  });

  it('is none for ids of other batches, and of versions before', () => {
    expect(placeInBlock(makeBatchId(now))).toBeUndefined();
    expect(placeInBlock(earlierCarriedId(makeBatchId(now), 1))).toBeUndefined();
    expect(placeInBlock(makeBatchId(now, 0))).toBeUndefined();
  });
});

describe('a message that carries a batch', () => {
  const odd = Buffer.from(
    ` {"x":"größe 🦊 \\" \u007f","processed_devices" :\r\n[${JSON.stringify(item)}]}\t\n`,
  );
  it.each<[string, CarriedBatch]>([
    ['an ordinary body', batchOf(bodyOf(item))],
    ['one with odd white space and names', batchOf(odd)],
    ['text that begins with a byte order mark', batchOf(Buffer.from('\ufeff{}'))],
    ['a compressed one', batchOf(gzipSync(bodyOf(item)), { encoding: 'gzip' })],
    ['bytes that are no UTF-8', batchOf(Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x7d]))],
    [
      'one of a version without dedup blocks',
      batchOf(bodyOf(item), { batchId: earlierCarriedId(makeBatchId(now), 1), receivedAt: now }),
    ],
    ['one under a key', batchOf(bodyOf(item, item), { accepted: 2, keyId: 'a'.repeat(64) })],
  ])('has its exact bytes: %s', (_, batch) => {
    const message = carriedMessage(batch);
    expect(message).toMatch(/^[\u0020-\u007e]+$/);
    const { sha256, body, ...carried } = carriedIn(message) ?? expect.fail();
    expect(Buffer.compare(body, batch.body)).toBe(0);
    expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(carried).toEqual({ ...batch, body: undefined, sha256: undefined });
    expect(carriedMessage({ ...carried, body })).toBe(message);
  });

  it('is counted as the only chunk of its batch', () => {
    const batch = batchOf(bodyOf(item, { ...item, state: 'off' }), { accepted: 2 });
    const { batchId, receivedAt } = batch;
    const reading = readMessage(carriedMessage(batch), dayOf);
    expect(reading).toMatchObject({ kind: 'chunk', batchId, receivedAt, index: 0, items: 2 });
    expect(readDeadLetterContent(carriedMessage(batch))).toMatchObject({
      ...{ kind: 'chunk', batchId, index: 0, items: 2 },
    });
  });

  it.each<[string, (text: string) => string, RegExp]>([
    [
      'another version',
      (text) => text.replace('"version":2', '"version":3'),
      /^unsupported_version: expected version 1 or 2, not 3/,
    ],
    [
      'the version of other ids',
      (text) => text.replace('"version":2', '"version":1'),
      /^invalid_message: version/,
    ],
    [
      'another number of items',
      (text) => text.replace('"accepted":1', '"accepted":2'),
      /^invalid_message: raw_key/,
    ],
    ['another body', (text) => text.replace('lamp', 'lamq'), /^invalid_message: the SHA-256/],
    ['another key', (text) => text.replace('raw/2026', 'raw/2025'), /^invalid_message: raw_key/],
    [
      'no body',
      (text) => text.replace('"body"', '"none"'),
      /^invalid_message: the body is missing/,
    ],
    ['another id', (text) => text.replaceAll('-bf01-', '-8f01-'), /^invalid_message: batch_id/],
  ])('with %s is unreadable', (_, change, reason) => {
    const reading = readMessage(change(carriedMessage(batchOf(bodyOf(item)))), dayOf);
    expect(reading).toMatchObject({
      kind: 'unreadable',
      reason: expect.stringMatching(reason) as string,
    });
    expect(reading).not.toHaveProperty('carried');
  });

  it('whose body cannot be counted still says whose body it is', () => {
    const batch = batchOf(bodyOf(item, {}));
    expect(readMessage(carriedMessage(batch), dayOf)).toMatchObject({
      ...{ kind: 'unreadable', reason: expect.stringMatching(/^recount_differs: /) as string },
      carried: { batchId: batch.batchId },
    });
    const wide = Array.from({ length: 81 }, (_, at) => ({ ...item, type: `type ${at}` }));
    const many = batchOf(bodyOf(...wide), { accepted: 81 });
    expect(readMessage(carriedMessage(many), dayOf)).toMatchObject({
      ...{ kind: 'unreadable', reason: 'invalid_message: the body makes 2 chunks, not one' },
    });
  });

  it('is not an item with members of the same names', () => {
    const own = JSON.stringify({ ...item, form: 'batch', batch_id: 'x', version: 1 });
    expect(readMessage(own, dayOf)).toMatchObject({ kind: 'item' });
  });
});

it('a batch may ride in its message if it is small and none of its items is rejected', () => {
  const small = {
    ...{ body: bodyOf(item), encoding: 'identity', caller: '', idempotency: undefined },
    ...{ accepted: 1, rejected: 0, increments: new Map() },
  } as const;
  const may = (more: object, itemsPerMessage = Infinity) =>
    mayBeCarried({ ...small, ...more } as Batch, itemsPerMessage);
  expect([
    may({}),
    may({ accepted: 255 }),
    may({ body: Buffer.alloc(32_768) }),
    may({}, 1),
  ]).toEqual([true, true, true, true]);
  const others = [
    { accepted: 0 },
    { accepted: 256 },
    { rejected: 1 },
    { body: Buffer.alloc(32_769) },
    { excluded: [0] },
  ];
  expect(others.map((each) => may(each))).toEqual(others.map(() => false));
  expect(may({ accepted: 2 }, 1)).toBe(false);
});
