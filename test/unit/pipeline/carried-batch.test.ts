import { gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import { batchIdMaker, carriedBatchId, readCarriedBatchId } from '../../../src/domain/batch-id.ts';
import { dayRule } from '../../../src/domain/day.ts';
import {
  carriedMessage,
  mayBeCarried,
  type CarriedBatch,
} from '../../../src/pipeline/chunks/carried-batch.ts';
import { carriedIn, readDeadLetterContent } from '../../../src/pipeline/chunks/letter-content.ts';
import { readMessage } from '../../../src/pipeline/chunks/queue-message.ts';
import type { Batch } from '../../../src/pipeline/ports.ts';
import { randomFrom } from '../../model/simulated-aws/aws-random.ts';

const now = Date.UTC(2026, 10, 29, 12);
const random = randomFrom(1);
const makeBatchId = batchIdMaker((count) => random.bytes(count));
const dayOf = dayRule('as-written');
const item = { type: 'lamp', state: 'on', timestamp: '2023-06-16T13:00:00Z' };
const bodyOf = (...items: object[]) => Buffer.from(JSON.stringify({ processed_devices: items }));

function batchOf(body: Uint8Array, more: Partial<CarriedBatch> = {}): CarriedBatch {
  const accepted = more.accepted ?? 1;
  const batchId = carriedBatchId(makeBatchId(now), accepted);
  const { receivedAt = 0 } = readCarriedBatchId(batchId) ?? {};
  const known = { batchId, receivedAt, accepted, rejected: 0, sha256: '' } as const;
  return { ...known, encoding: 'identity', body, ...more };
}

describe('the id of a batch whose message carries its body', () => {
  it('says so, how many items it has and when it was received', () => {
    for (const items of [1, 2, 128, 255]) {
      const id = carriedBatchId(makeBatchId(now), items);
      expect(readCarriedBatchId(id)).toEqual({ items, receivedAt: now });
    }
  });

  it('keeps the order of ids, and differs in 48 bits at the same moment', () => {
    const maker = batchIdMaker(() => Buffer.alloc(8, 0xff));
    const ids = Array.from({ length: 300 }, () => carriedBatchId(maker(now), 7));
    expect([...ids].sort()).toEqual(ids);
    const one = batchIdMaker(() => Buffer.alloc(8, 0x11))(now);
    const other = batchIdMaker(() => Buffer.from('1111eeeeeeeeeeee', 'hex'))(now);
    expect(carriedBatchId(one, 1).slice(-12)).toBe('111111111111');
    expect(carriedBatchId(other, 1).slice(-12)).toBe('eeeeeeeeeeee');
  });

  it('is none that other batches get', () => {
    const maker = batchIdMaker(() => Buffer.alloc(8, 0xff));
    expect(readCarriedBatchId(maker(now))).toBeUndefined();
    for (const id of ['', 'x', '00000000-0000-4000-bf01-000000000000', `${maker(now)}0`]) {
      expect(readCarriedBatchId(id)).toBeUndefined();
    }
    expect(readCarriedBatchId(carriedBatchId(maker(now), 0))).toBeUndefined();
  });
});

describe('a message that carries a batch', () => {
  const odd = Buffer.from(
    ` {"x":"größe 🦊 \\" \u007f","processed_devices" :\r\n[${JSON.stringify(item)}]}\t\n`,
  );
  it.each<[string, CarriedBatch]>([
    ['an ordinary body', batchOf(bodyOf(item))],
    ['one with odd white space and names', batchOf(odd)],
    ['one that begins with a byte order mark', batchOf(Buffer.from('\ufeff{}'))],
    ['a compressed one', batchOf(gzipSync(bodyOf(item)), { encoding: 'gzip' })],
    ['bytes that are no UTF-8', batchOf(Buffer.from([0x7b, 0xff, 0xfe, 0x00, 0x7d]))],
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
      (text) => text.replace('"version":1', '"version":2'),
      /^unsupported_version: /,
    ],
    [
      'another number of items',
      (text) => text.replace('"accepted":1', '"accepted":2'),
      /^invalid_message: raw_key/,
    ],
    ['another body', (text) => text.replace('lamp', 'lamq'), /^invalid_message: the SHA-256/],
    ['another key', (text) => text.replace('raw/2026', 'raw/2025'), /^invalid_message: raw_key/],
    ['no body', (text) => text.replace('"body"', '"nobody"'), /^invalid_message: it has no body/],
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
