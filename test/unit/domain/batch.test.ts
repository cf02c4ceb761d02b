import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { itemErrorsMax, jsonDepthMax, readBatch, countEvents } from '../../../src/domain/batch.ts';
import { rowsOfIncrements } from '../../../src/domain/counter.ts';
import { isNestedDeeperThan } from '../../../src/domain/fast/json-depth.ts';

const item = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };

const read = (text: string) => readBatch(Buffer.from(text));
const readItems = (items: readonly unknown[]) => read(JSON.stringify({ processed_devices: items }));

function codeOf(text: string): string | undefined {
  const reading = read(text);
  return reading.readable ? undefined : reading.code;
}

describe('a batch', () => {
  it('holds its valid items in order, with the date of each, and counts the others', () => {
    const other = { ...item, type: 'phone', timestamp: '2023-06-17T00:00:00+02:00' };
    expect(readItems([item, null, other, item])).toEqual({
      readable: true,
      events: [
        { ...item, date: '2023-06-16' },
        { ...other, date: '2023-06-17' },
        { ...item, date: '2023-06-16' },
      ],
      rejected: 1,
      rejectedByCode: new Map([['not_an_object', 1]]),
      errors: [
        { index: 1, field: null, code: 'not_an_object', message: expect.any(String) as string },
      ],
    });
  });

  it('may be empty', () => {
    expect(readItems([])).toEqual({
      ...{ readable: true, events: [], rejected: 0, errors: [] },
      rejectedByCode: new Map(),
    });
  });

  it('counts each refused item by its first error, however many are listed', () => {
    const bad = [{}, { ...item, state: ' ' }, { type: 1 }, 7, { ...item, timestamp: 'never' }];
    const many = Array.from({ length: 100 }, () => bad).flat();
    const reading = readItems([...many, item]);
    expect(reading).toMatchObject({ rejected: 500 });
    expect(reading.readable && reading.errors).toHaveLength(20);
    expect(reading.readable && reading.rejectedByCode).toEqual(
      new Map([
        ...(['missing', 'blank', 'not_a_string', 'not_an_object', 'not_rfc3339'] as const).map(
          (code) => [code, 100] as const,
        ),
      ]),
    );
  });

  it.each([
    ['empty_body', ''],
    ['invalid_json', ' '],
    ['invalid_json', '\ufeff'],
    ['invalid_json', '{"processed_devices":[]}]'],
    ['invalid_json', '{"processed_devices":[],}'],
    ['invalid_json', "{'processed_devices':[]}"],
    ['invalid_body', '"processed_devices"'],
    ['invalid_body', '[]'],
    ['invalid_body', 'null'],
    ['invalid_body', '{}'],
    ['invalid_body', '{"processed_devices":null}'],
    ['invalid_body', '{"processed_devices":"[]"}'],
    ['invalid_body', '{"Processed_Devices":[]}'],
    ['invalid_body', '{"__proto__":{"processed_devices":[]}}'],
    [undefined, '\ufeff{"processed_devices":[]}'],
    [undefined, '\n {"processed_devices" : [ ] }\t'],
    [undefined, '{"processed_devices":null,"processed_devices":[]}'],
  ])('is %s: %j', (code, text) => {
    expect(codeOf(text)).toBe(code);
  });

  it('is UTF-8 or refused', () => {
    const inString = (...bytes: number[]) =>
      Buffer.concat([
        Buffer.from('{"processed_devices":[],"x":"'),
        Buffer.from(bytes),
        Buffer.from('"}'),
      ]);
    expect(readBatch(inString(0xe2, 0x82, 0xac)).readable).toBe(true);
    const broken = [
      [0xff],
      [0x80],
      [0xe2, 0x82],
      [0xc0, 0xaf], // overlong
      [0xed, 0xa0, 0x80], // a surrogate
      [0xf4, 0x90, 0x80, 0x80], // beyond U+10FFFF
    ];
    for (const bytes of broken) {
      expect(readBatch(inString(...bytes))).toMatchObject({
        readable: false,
        code: 'invalid_json',
        detail: 'The body is not UTF-8.',
      });
    }
  });
});

describe('the depth of a batch', () => {
  const nested = (depth: number, open = '[', close = ']') => {
    // The body itself is one level.
    const levels = depth - 1;
    return `{"processed_devices":[],"x":${open.repeat(levels)}${close.repeat(levels)}}`;
  };

  it(`may be ${jsonDepthMax} and no more, in lists`, () => {
    expect(codeOf(nested(64))).toBeUndefined();
    expect(codeOf(nested(65))).toBe('invalid_json');
    expect(codeOf(nested(1_000_000))).toBe('invalid_json');
  });

  it(`may be ${jsonDepthMax} and no more, in objects`, () => {
    const objects = (depth: number) =>
      `{"processed_devices":[],"x":${'{"x":'.repeat(depth - 1)}1${'}'.repeat(depth - 1)}}`;
    expect(codeOf(objects(64))).toBeUndefined();
    expect(codeOf(objects(65))).toBe('invalid_json');
  });

  it('counts what is open at once', () => {
    expect(codeOf(`{"processed_devices":[],"x":[${'[],'.repeat(1000)}[]]}`)).toBeUndefined();
  });

  it.each([
    ['brackets in a string', `"${'[{'.repeat(100)}"`],
    ['brackets after an escaped quotation mark', `"\\"${'[{'.repeat(100)}"`],
    ['brackets after an escaped backslash and quotation mark', `"\\\\\\"${'[{'.repeat(100)}"`],
    ['brackets in the name of a member', `{"${'['.repeat(100)}":1}`],
  ])('does not count %s', (_, value) => {
    expect(codeOf(`{"processed_devices":[],"x":${value}}`)).toBeUndefined();
  });

  it('counts what follows a string that ends in an escaped backslash', () => {
    const deep = `${'['.repeat(64)}${']'.repeat(64)}`;
    expect(codeOf(`{"processed_devices":[],"x":"\\\\","y":${deep}}`)).toBe('invalid_json');
  });

  it('is that of the parsed document, for any JSON', () => {
    const depthOf = (value: unknown): number =>
      typeof value === 'object' && value !== null
        ? 1 + Math.max(0, ...Object.values(value).map(depthOf))
        : 0;
    fc.assert(
      fc.property(fc.json({ maxDepth: 12 }), (text) => {
        const depth = depthOf(JSON.parse(text));
        const bytes = Buffer.from(text);
        expect(isNestedDeeperThan(bytes, depth)).toBe(false);
        if (depth > 0) expect(isNestedDeeperThan(bytes, depth - 1)).toBe(true);
      }),
    );
  });
});

describe('the errors of a batch', () => {
  it(`are the first ${itemErrorsMax}, with the place of their item; all items are counted`, () => {
    const reading = readItems([item, ...Array.from({ length: 25 }, () => 0), item]);
    if (!reading.readable) expect.fail(reading.code);
    expect(reading.events).toHaveLength(2);
    expect(reading.rejected).toBe(25);
    expect(reading.errors.map(({ index }) => index)).toEqual(
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
  });

  it('may end within an item', () => {
    const reading = readItems(Array.from({ length: 10 }, () => ({})));
    if (!reading.readable) expect.fail(reading.code);
    expect(reading.rejected).toBe(10);
    expect(reading.errors).toHaveLength(20);
    expect(reading.errors.slice(-3).map(({ index, field }) => [index, field])).toEqual([
      [5, 'timestamp'],
      [6, 'type'],
      [6, 'state'],
    ]);
  });

  it('count an item with several bad fields once', () => {
    expect(readItems([{}, item])).toMatchObject({
      rejected: 1,
      errors: [{ index: 0 }, { index: 0 }, { index: 0 }],
    });
  });
});

describe('reading a batch', () => {
  const bodies = fc.oneof(
    fc.uint8Array(),
    fc.json().map((text) => Buffer.from(text)),
    fc.array(fc.oneof(fc.constant(item), fc.anything())).map((items) => {
      const text = JSON.stringify({ processed_devices: items }, (_, value: unknown) =>
        typeof value === 'bigint' ? null : value,
      );
      return Buffer.from(text);
    }),
  );

  it('never throws, takes every item into account, and gives the same for the same bytes', () => {
    fc.assert(
      fc.property(bodies, (body) => {
        const before = Buffer.from(body);
        const reading = readBatch(body);
        expect(readBatch(Uint8Array.from(before))).toEqual(reading);
        expect(before.equals(body), 'the body is left as it is').toBe(true);
        if (!reading.readable) return;
        const text = new TextDecoder().decode(body);
        const { processed_devices: items } = JSON.parse(text) as { processed_devices: unknown[] };
        expect(reading.events.length + reading.rejected).toBe(items.length);
      }),
      { numRuns: 500 },
    );
  });

  it('gives the same for a body that is a part of a larger buffer', () => {
    const body = Buffer.from(JSON.stringify({ processed_devices: [item] }));
    const larger = Buffer.concat([Buffer.from('[[['), body, Buffer.from('}}}')]);
    expect(readBatch(larger.subarray(3, 3 + body.length))).toEqual(readBatch(body));
  });
});

describe('the increments of a batch', () => {
  it('has an increment for every event', () => {
    const reading = readItems([item, { ...item, state: 'failed' }, item, 'bad']);
    if (!reading.readable) expect.fail(reading.code);
    expect([...rowsOfIncrements(countEvents(reading.events))]).toEqual([
      { date: '2023-06-16', type: 'laptop', state: 'erased', count: 2 },
      { date: '2023-06-16', type: 'laptop', state: 'failed', count: 1 },
    ]);
  });
});

describe('items that were refused for what the body does not tell', () => {
  const text = JSON.stringify({
    processed_devices: ['a', 'b', 'c', 'd'].map((type) => ({
      ...{ type, state: 'erased', timestamp: '2023-06-16T13:00:00Z' },
    })),
  });

  it('are read as refused again, and the others as they were', () => {
    const reading = readBatch(Buffer.from(text), undefined, [1, 3]);
    expect(reading).toMatchObject({ readable: true, rejected: 2, errors: [] });
    expect(reading.readable && reading.events.map(({ type }) => type)).toEqual(['a', 'c']);
  });
});
