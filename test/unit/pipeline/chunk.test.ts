import { hash } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { rawKeyOf } from '../../../src/domain/batch-id.ts';
import {
  chunkBytesMax,
  chunkCountersMax,
  chunkVersion,
  cutIntoChunks,
  type Chunk,
} from '../../../src/pipeline/chunks/chunk.ts';
import { readDeviceEvent, type DeviceEvent } from '../../../src/domain/device-event.ts';

const batch = {
  batchId: '00000000-002a-8abc-9def-000000000001',
  receivedAt: Date.parse('2023-06-16T13:00:00.123Z'),
};

interface Message {
  readonly version: number;
  readonly batch_id: string;
  readonly index: number;
  readonly raw_key: string;
  readonly received_at: string;
  readonly items: readonly Omit<DeviceEvent, 'date'>[];
}

const messageOf = ({ message }: Chunk) => JSON.parse(message) as Message;
const itemOf = ({ type, state, timestamp }: DeviceEvent) => ({ type, state, timestamp });
const counterOf = ({ date, type, state }: DeviceEvent) => JSON.stringify([date, type, state]);

function eventOf(item: { type: string; state: string; timestamp: string }): DeviceEvent {
  const reading = readDeviceEvent(item);
  if (!reading.valid) throw new Error(`the test made no event: ${JSON.stringify(item)}`);
  return reading.event;
}

const timestamp = '2023-06-16T13:00:00Z';

/** Of every length of escape, and what JSON, ASCII and Unicode treat in their own ways. */
const characters = [
  ...Array.from('ab "\\/#%<&'),
  '\u0080',
  'é',
  '\u2028',
  '\ufeff',
  '\uffff',
  '💻',
  '\u{10ffff}',
];
const name = fc
  .string({ unit: fc.constantFrom(...characters), maxLength: 30 })
  .map((text) => `x${text}x`);
const event = fc
  .record({
    type: fc.oneof(fc.constantFrom('laptop', 'phone'), name),
    state: fc.oneof(fc.constant('erased'), name),
    timestamp: fc.constantFrom(timestamp, '2023-06-17T01:30:00.5+02:00', '2016-12-31t23:59:60z'),
  })
  .map(eventOf);
const events = fc.oneof(
  fc.array(event, { maxLength: 400 }),
  // Few counters and many items: cut by size.
  fc.array(
    fc.constantFrom(
      ...['a', 'b'].map((type) => eventOf({ type, state: 'é'.repeat(60), timestamp })),
    ),
    {
      minLength: 200,
      maxLength: 1500,
    },
  ),
);
const eventsMax = fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: 1, max: 100 }));

describe('the chunks of a batch', () => {
  it('hold its events, all of them, in order', () => {
    fc.assert(
      fc.property(events, eventsMax, (input, max) => {
        const chunks = cutIntoChunks(batch, input, max);
        expect(chunks.flatMap((chunk) => chunk.events)).toEqual(input);
        expect(chunks.flatMap((chunk) => messageOf(chunk).items)).toEqual(input.map(itemOf));
      }),
    );
  });

  it('are each within the bounds, and none is empty', () => {
    fc.assert(
      fc.property(events, eventsMax, (input, max) => {
        for (const chunk of cutIntoChunks(batch, input, max)) {
          expect(Buffer.byteLength(chunk.message)).toBeLessThanOrEqual(chunkBytesMax);
          const counters = new Set(chunk.events.map(counterOf));
          expect(counters.size).toBeLessThanOrEqual(chunkCountersMax);
          expect(chunk.events.length).toBeLessThanOrEqual(max);
          expect(chunk.events.length).toBeGreaterThan(0);
        }
      }),
    );
  });

  it('are filled before another is begun', () => {
    fc.assert(
      fc.property(events, eventsMax, (input, max) => {
        const chunks = cutIntoChunks(batch, input, max);
        for (const [index, chunk] of chunks.slice(0, -1).entries()) {
          const next = chunks[index + 1]?.events[0];
          if (next === undefined) expect.fail('an empty chunk');
          // A comma is counted for the last item too, so that the bound itself is not reached.
          const fits = Buffer.byteLength(chunk.message) + bytesOf(next) < chunkBytesMax;
          const counters = new Set([...chunk.events, next].map(counterOf));
          const hasRoom = chunk.events.length < max && counters.size <= chunkCountersMax && fits;
          expect(hasRoom).toBe(false);
        }
      }),
    );
  });

  it('are numbered from 0 and named after their batch', () => {
    fc.assert(
      fc.property(events, eventsMax, (input, max) => {
        const chunks = cutIntoChunks(batch, input, max);
        expect(chunks.map(({ index }) => index)).toEqual(chunks.map((_, index) => index));
        for (const chunk of chunks) {
          expect(chunk).toMatchObject(batch);
          expect(messageOf(chunk)).toMatchObject({
            version: chunkVersion,
            batch_id: batch.batchId,
            index: chunk.index,
            raw_key: rawKeyOf(batch.batchId, batch.receivedAt),
            received_at: '2023-06-16T13:00:00.123Z',
          });
        }
      }),
    );
  });

  it('are written in visible ASCII alone', () => {
    fc.assert(
      fc.property(events, (input) => {
        for (const { message } of cutIntoChunks(batch, input)) {
          expect(message).toMatch(/^[ -~]*$/);
        }
      }),
    );
  });

  it('are the same when the batch is cut again', () => {
    fc.assert(
      fc.property(events, eventsMax, (input, max) => {
        const again = cutIntoChunks({ ...batch }, structuredClone(input), max);
        expect(again).toEqual(cutIntoChunks(batch, input, max));
      }),
    );
  });

  it('are one for each event if requested', () => {
    fc.assert(
      fc.property(events, (input) => {
        const chunks = cutIntoChunks(batch, input, 1);
        expect(chunks.map((chunk) => chunk.events)).toEqual(input.map((each) => [each]));
      }),
    );
  });

  it('are none without events', () => {
    expect(cutIntoChunks(batch, [])).toEqual([]);
    expect(cutIntoChunks(batch, [], 1)).toEqual([]);
  });
});

describe('a chunk', () => {
  const counters = (count: number) =>
    Array.from({ length: count }, (_, index) =>
      eventOf({ type: `type ${index}`, state: 'erased', timestamp }),
    );
  const sizes = (input: readonly DeviceEvent[]) =>
    cutIntoChunks(batch, input).map((chunk) => chunk.events.length);

  it(`takes ${chunkCountersMax} counters, and another item of one of them`, () => {
    expect(sizes(counters(80))).toEqual([80]);
    expect(sizes(counters(81))).toEqual([80, 1]);
    expect(sizes([...counters(80), ...counters(80)])).toEqual([160]);
  });

  it('counts the same names on two dates as two counters', () => {
    const input = counters(80);
    const nextDay = { type: 'type 0', state: 'erased', timestamp: '2023-06-17T00:00:00Z' };
    expect(sizes([...input, eventOf(nextDay)])).toEqual([80, 1]);
  });

  it.each([
    ['quotation marks', '"'.repeat(128)],
    ['characters of two bytes', 'é'.repeat(64)],
    ['characters of three bytes', `${'€'.repeat(42)}xx`],
    ['characters of four bytes', '💻'.repeat(32)],
  ])('takes many of the longest items, names of %s', (_, longest) => {
    const item = {
      type: longest,
      state: longest,
      timestamp: `2023-06-16T13:00:00.${'1'.repeat(107)}Z`,
    };
    const input = Array.from({ length: 1000 }, () => eventOf(item));
    const chunks = cutIntoChunks(batch, input);
    expect(chunks.flatMap((chunk) => messageOf(chunk).items)).toEqual(input.map(() => item));
    for (const { message } of chunks) {
      expect(Buffer.byteLength(message)).toBeLessThanOrEqual(chunkBytesMax);
    }
    expect(chunks[0]?.events.length).toBeGreaterThan(50);
  });

  it('may be as long as the bound, but for the comma that its last item does not have', () => {
    const long = eventOf({ type: 'x'.repeat(128), state: 'x'.repeat(128), timestamp });
    const [first] = cutIntoChunks(
      batch,
      Array.from({ length: 1000 }, () => long),
    );
    const full = first?.events.slice(0, -1) ?? [];
    // Two items that grow by a byte, until they no longer fit.
    const lengths = Array.from({ length: 509 }, (_, extra) => {
      const names = Array.from({ length: 4 }, (_, index) =>
        'x'.repeat(1 + Math.min(127, Math.max(0, extra - 127 * index))),
      );
      const [type = '', state = '', otherType = '', otherState = ''] = names;
      const two = [
        eventOf({ type, state, timestamp }),
        eventOf({ type: otherType, state: otherState, timestamp }),
      ];
      return Buffer.byteLength(cutIntoChunks(batch, [...full, ...two])[0]?.message ?? '');
    });
    expect(Math.max(...lengths)).toBe(chunkBytesMax - 1);
  });

  it('is cut as this version has always cut it: another cut needs another version', () => {
    const few = Array.from({ length: 400 }, (_, index) => ({
      type: `type ${index % 5} é"\\💻`.padEnd(100, '%'),
      state: `state ${index % 3}\u2028#`,
      timestamp,
    }));
    const many = Array.from({ length: 400 }, (_, index) => ({
      type: `type ${index % 100}`,
      state: 'erased',
      timestamp: `2023-06-${String(1 + (index % 30)).padStart(2, '0')}T13:00:00Z`,
    }));
    const chunks = cutIntoChunks(batch, [...few, ...many].map(eventOf));
    const messages = chunks.map(({ message }) => message).join('\n');
    expect({
      version: chunkVersion,
      events: chunks.map((chunk) => chunk.events.length),
      sha256: hash('sha256', messages),
    }).toEqual({
      version: 1,
      events: [345, 120, 80, 80, 80, 80, 15],
      sha256: 'a74be05afb4a256d7b2daa5a49256d56e9e15224ddc503ddad1268709e706b10',
    });
  });
});

/** The bytes that an event adds to a chunk that has others. */
function bytesOf(event: DeviceEvent): number {
  const [one, two] = [[event], [event, event]].map((each) => cutIntoChunks(batch, each)[0]);
  return Buffer.byteLength(two?.message ?? '') - Buffer.byteLength(one?.message ?? '');
}
