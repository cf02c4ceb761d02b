import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { countEvents } from '../../../src/domain/batch.ts';
import { cutIntoChunks } from '../../../src/pipeline/chunks/chunk.ts';
import { dayRule } from '../../../src/domain/day.ts';
import { readDeviceEvent, type DeviceEvent } from '../../../src/domain/device-event.ts';
import { readMessage } from '../../../src/pipeline/chunks/queue-message.ts';

const dayOf = dayRule('as-written');
const batch = { batchId: '0188c413-9e00-7002-b9e6-636f8a2cdf18', receivedAt: 1_686_916_800_000 };

function eventOf(type: string, state = 'ready'): DeviceEvent {
  const reading = readDeviceEvent({ type, state, timestamp: '2023-06-16T13:00:00Z' });
  if (!reading.valid) throw new Error('not valid');
  return reading.event;
}

function chunk(change: Record<string, unknown> = {}): string {
  const [first] = cutIntoChunks(batch, [eventOf('a'), eventOf('a'), eventOf('b')]);
  return JSON.stringify({ ...(JSON.parse(first?.message ?? '') as object), ...change });
}

describe('a message on the queue', () => {
  it('that we wrote is read as it was cut', () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }).filter((text) => {
      const timestamp = '2023-06-16T13:00:00Z';
      return readDeviceEvent({ type: text, state: text, timestamp }).valid;
    });
    const events = fc.array(fc.tuple(name, name), { minLength: 1, maxLength: 200 });
    fc.assert(
      fc.property(events, fc.constantFrom(1, 7, Infinity), (names, eventsMax) => {
        const all = names.map(([type, state]) => eventOf(type, state));
        for (const cut of cutIntoChunks(batch, all, eventsMax)) {
          expect(readMessage(cut.message, dayOf)).toEqual({
            kind: 'chunk',
            ...batch,
            index: cut.index,
            items: cut.events.length,
            increments: countEvents(cut.events),
          });
        }
      }),
      { numRuns: 50 },
    );
  });

  it('that is a single item is that item', () => {
    const item = { type: 'a', state: 'ready', timestamp: '2023-06-16T23:30:00-05:00', other: 1 };
    expect(readMessage(JSON.stringify(item), dayOf)).toMatchObject({ kind: 'item' });
    const inUtc = readMessage(JSON.stringify(item), dayRule('UTC'));
    expect(inUtc.kind === 'item' && [...inUtc.increments.keys()]).toEqual(['2023-06-17']);
  });

  it.each(['version', 'items', 'batch_id', 'raw_key', 'index'])(
    'that is an item may have a member %s of its own',
    (name) => {
      const text = JSON.stringify({ ...eventOf('a'), [name]: '2.1' });
      expect(readMessage(text, dayOf)).toMatchObject({ kind: 'item' });
    },
  );

  it.each([
    ['no JSON', '{', /^invalid_json: /],
    ['a list', '[]', /^invalid_message: the message is neither/],
    ['null', 'null', /^invalid_message: the message is neither/],
    ['an object of nothing', '{}', /^invalid_item: type is missing; state is missing; time/],
    ['another version', chunk({ version: 2 }), /^unsupported_version: expected version 1, not 2/],
    ['no version', chunk({ version: undefined }), /^unsupported_version: /],
    ['another batch', chunk({ batch_id: 'x' }), /^invalid_message: raw_key and batch_id/],
    ['no raw key', chunk({ raw_key: 1 }), /^invalid_message: raw_key and batch_id/],
    ['a negative index', chunk({ index: -1 }), /^invalid_message: index/],
    ['half an index', chunk({ index: 0.5 }), /^invalid_message: index/],
    ['a large index', chunk({ index: 1e6 }), /^invalid_message: index/],
    ['an index as text', chunk({ index: '0' }), /^invalid_message: index/],
    ['no items', chunk({ items: [] }), /^invalid_message: the chunk has no items/],
    ['items that are none', chunk({ items: {} }), /^invalid_message: the chunk has no items/],
    ['a bad item among good ones', chunk({ items: [eventOf('a'), {}] }), /^invalid_item: item 1: /],
    [
      'more counters than a transaction takes',
      chunk({ items: Array.from({ length: 81 }, (_, serial) => eventOf(`t${serial}`)) }),
      /^too_many_counters: /,
    ],
    ['deep nesting', '['.repeat(65) + ']'.repeat(65), /^invalid_json: nested deeper/],
  ])('that cannot be read is refused with a reason: %s', (_, body, reason) => {
    const reading = readMessage(body, dayOf);
    expect(reading.kind === 'unreadable' && reading.reason).toMatch(reason);
  });

  it('of any other text is read or refused, never thrown at', () => {
    fc.assert(fc.property(fc.string(), (text) => void readMessage(text, dayOf)));
    fc.assert(fc.property(fc.json(), (text) => void readMessage(text, dayOf)));
  });
});
