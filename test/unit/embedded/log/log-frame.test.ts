import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { positionMax } from '../../../../src/domain/batch-id.ts';
import {
  claimedLength,
  decodeFrame,
  encodeFrame,
  frameHeaderBytes,
  frameLength,
  type LogRecord,
} from '../../../../src/engines/embedded/log/frame.ts';

const salt = 0x5eed_1234;

function frameOf(record: LogRecord, saltOfLog = salt): Buffer {
  const frame = Buffer.alloc(frameLength(record));
  expect(encodeFrame(record, saltOfLog, frame, 0)).toBe(frame.length);
  return frame;
}

const plain: LogRecord = {
  position: 4711,
  syncedThrough: 4000,
  batchId: Buffer.alloc(16, 7),
  receivedAt: 1_700_000_000_123,
  accepted: 3,
  rejected: 1,
  encoding: 'identity',
  caller: 'gateway',
  idempotency: { key: 'a-key', bodySha256: Buffer.alloc(32, 9) },
  body: Buffer.from('{"processed_devices":[]}'),
};

/** Six bytes on the disk. */
const sixBytes = fc.oneof(
  fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, positionMax),
  fc.integer({ min: 0, max: positionMax }),
);
const count = fc.oneof(fc.constantFrom(0, 2 ** 31, 2 ** 32 - 1), fc.nat());
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const key = fc
  .array(fc.integer({ min: 0x21, max: 0x7e }), { minLength: 1, maxLength: 255 })
  .map((codes) => String.fromCharCode(...codes));

const excluded = fc
  .uniqueArray(fc.nat({ max: 300 }), { maxLength: 100 })
  .map((indexes) => indexes.sort((a, b) => a - b));

const record: fc.Arbitrary<LogRecord> = fc.record(
  {
    position: sixBytes,
    syncedThrough: sixBytes,
    batchId: bytes(16),
    receivedAt: sixBytes,
    accepted: count,
    rejected: count,
    encoding: fc.constantFrom('identity', 'gzip'),
    caller: fc.oneof(
      fc.constantFrom('', 'x'.repeat(255)),
      fc
        .string({ unit: 'grapheme', maxLength: 40 })
        .filter((text) => Buffer.byteLength(text) < 256),
    ),
    idempotency: fc.option(fc.record({ key, bodySha256: bytes(32) }), { nil: undefined }),
    body: fc.uint8Array({ maxLength: 3000 }),
    excluded,
    originId: fc.uuid(),
  },
  {
    requiredKeys: [
      'position',
      'syncedThrough',
      'batchId',
      'receivedAt',
      'accepted',
      'rejected',
      'encoding',
      'caller',
      'idempotency',
      'body',
    ],
  },
);

/** Views of a buffer and the arrays they were made of compare alike. */
function comparable({ idempotency, ...rest }: LogRecord) {
  return {
    ...rest,
    batchId: Buffer.from(rest.batchId),
    body: Buffer.from(rest.body),
    idempotency: idempotency && {
      key: idempotency.key,
      bodySha256: Buffer.from(idempotency.bodySha256),
    },
  };
}

describe('a frame', () => {
  it('gives back every field of the record it was made of', () => {
    fc.assert(
      fc.property(record, fc.nat(), (written, anySalt) => {
        const frame = frameOf(written, anySalt);
        const read = decodeFrame(frame, anySalt, written.position);
        expect(read && comparable(read)).toEqual(comparable(written));
      }),
      { numRuns: 500 },
    );
  });

  it('is written at the given offset, and nowhere else', () => {
    fc.assert(
      fc.property(record, fc.nat({ max: 100 }), fc.nat({ max: 100 }), (written, before, behind) => {
        const length = frameLength(written);
        const target = Buffer.alloc(before + length + behind, 0xee);
        encodeFrame(written, salt, target, before);
        expect(claimedLength(target, before, written.position)).toBe(length);
        expect(target.subarray(before, before + length)).toEqual(frameOf(written));
        expect(target.subarray(0, before)).toEqual(Buffer.alloc(before, 0xee));
        expect(target.subarray(before + length)).toEqual(Buffer.alloc(behind, 0xee));
      }),
    );
  });

  it('is not sound with any one bit of it changed', () => {
    const frame = frameOf(plain);
    for (let at = 0; at < frame.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const damaged = Buffer.from(frame);
        damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << bit), at);
        expect(
          decodeFrame(damaged, salt, plain.position),
          `byte ${at}, bit ${bit}`,
        ).toBeUndefined();
      }
    }
  });

  it('is not sound with any one byte of it replaced by any other', () => {
    const frame = frameOf(plain);
    fc.assert(
      fc.property(fc.nat({ max: frame.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, by) => {
        const damaged = Buffer.from(frame);
        damaged.writeUInt8(damaged.readUInt8(at) ^ by, at);
        expect(decodeFrame(damaged, salt, plain.position)).toBeUndefined();
      }),
      { numRuns: 2000 },
    );
  });

  it('is not sound cut short, or longer than it says', () => {
    const frame = frameOf(plain);
    for (let length = 0; length < frame.length; length++) {
      expect(decodeFrame(frame.subarray(0, length), salt, plain.position)).toBeUndefined();
    }
    const longer = Buffer.concat([frame, Buffer.alloc(1)]);
    expect(decodeFrame(longer, salt, plain.position)).toBeUndefined();
  });

  it('is sound at its own position alone: a write that went elsewhere shows', () => {
    const frame = frameOf(plain);
    expect(decodeFrame(frame, salt, plain.position)).toBeDefined();
    for (const elsewhere of [0, plain.position - 1, plain.position + 1, positionMax]) {
      expect(decodeFrame(frame, salt, elsewhere)).toBeUndefined();
      expect(claimedLength(frame, 0, elsewhere)).toBeUndefined();
    }
  });

  it('is sound with the salt of its own log alone: a client cannot make one', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), (one, other) => {
        fc.pre(one !== other);
        expect(decodeFrame(frameOf(plain, one), other, plain.position)).toBeUndefined();
      }),
    );
  });

  it('claims no length shorter than its header, nor from a header cut short', () => {
    const frame = frameOf(plain);
    expect(claimedLength(frame.subarray(0, frameHeaderBytes - 1), 0, plain.position)).toBe(
      undefined,
    );
    frame.writeUInt32LE(frameHeaderBytes - 1, 8);
    expect(claimedLength(frame, 0, plain.position)).toBeUndefined();
  });
});
