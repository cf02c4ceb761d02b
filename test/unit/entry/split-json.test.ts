import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import { InputError } from '../../../src/entry/ingest/json-scanner.ts';
import { packItems } from '../../../src/entry/ingest/pack-items.ts';
import { JsonSlicer, type RawItem, type TextKind } from '../../../src/entry/ingest/split-json.ts';

interface SliceOptions {
  kind?: TextKind;
  chunkBytes?: number;
  itemBytesMax?: number;
}

function slice(
  input: string | Uint8Array,
  { kind = 'values', chunkBytes = 7, itemBytesMax = 10_000 }: SliceOptions = {},
): string[] {
  const bytes = Buffer.from(input);
  const slicer = new JsonSlicer(kind, itemBytesMax);
  const items: RawItem[] = [];
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    items.push(...slicer.push(bytes.subarray(at, at + chunkBytes)));
  }
  items.push(...slicer.end());
  for (const item of items) {
    const there = bytes.subarray(item.offset, item.offset + item.bytes.length);
    expect(Buffer.compare(there, item.bytes)).toBe(0);
  }
  return items.map((item) => Buffer.from(item.bytes).toString());
}

function failure(input: string | Uint8Array, options: SliceOptions = {}): InputError {
  try {
    slice(input, options);
  } catch (error) {
    if (error instanceof InputError) return error;
    throw error;
  }
  throw new Error('it was read without an error');
}

const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);
const chunkBytes = fc.integer({ min: 1, max: 40 });

/** A JSON text together with the raw texts of its items, with white space wherever it may be. */
const documents = fc
  .tuple(
    fc.array(fc.tuple(fc.jsonValue({ maxDepth: 3 }), space, space)),
    fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.jsonValue()), { maxLength: 3 }),
    fc.constantFrom('"processed_devices"', '"processed\\u005fdevices"'),
    space,
    fc.boolean(),
  )
  .map(([values, others, name, gap, isList]) => {
    const items = values.map(([value]) => JSON.stringify(value, null, values.length % 3));
    const list = `[${gap}${items.map((item, at) => `${values[at]?.[1] ?? ''}${item}${values[at]?.[2] ?? ''}`).join(',')}]`;
    if (isList) return { items, text: `${gap}${list}${gap}` };
    const members = others
      .filter(([key]) => key !== 'processed_devices')
      .map(([key, value]) => `${JSON.stringify(key)}${gap}:${gap}${JSON.stringify(value)}`);
    members.splice(others.length >> 1, 0, `${name}:${gap}${list}`);
    return { items, text: `${gap}{${gap}${members.join(`${gap},`)}${gap}}${gap}` };
  });

describe('slicing a document', () => {
  test('gives the raw bytes of every item, wherever the chunks are cut', () => {
    fc.assert(
      fc.property(
        documents,
        chunkBytes,
        fc.constantFrom<TextKind>('document', 'values', 'line'),
        (document, bytes, kind) => {
          expect(slice(document.text, { chunkBytes: bytes, kind })).toEqual(document.items);
        },
      ),
    );
  });

  test('reads the items that JSON.parse would', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), chunkBytes, (values, bytes) => {
        const text = JSON.stringify({
          a: [1],
          processed_devices: values,
          z: { processed_devices: 1 },
        });
        const items = slice(text, { chunkBytes: bytes }).map((item) => JSON.parse(item) as unknown);
        expect(items).toEqual((JSON.parse(text) as Record<string, unknown>)['processed_devices']);
      }),
    );
  });

  test('keeps what parsing would change: the form of numbers, escapes, white space, double names', () => {
    const items = ['1.0e+2', '-0', '12345678901234567890', '"\\u0041\\/"', '{ "a" : 1, "a":2 }'];
    expect(slice(`[${items.join(' , ')}]`)).toEqual(items);
  });

  test('takes the list of the root, not one further in', () => {
    expect(slice('{"x":{"processed_devices":[1]},"processed_devices":[2]}')).toEqual(['2']);
  });

  test('an empty list has no items', () => {
    expect(slice('{"processed_devices":[ ]}')).toEqual([]);
    expect(slice('[]')).toEqual([]);
  });
});

describe('slicing values one after the other', () => {
  test('gives the items of lists, and what is no document as an item', () => {
    const text =
      '{"processed_devices":[1,2]}\n{"n":\n3}{"x":0,"processed_devices":[{"n":4}]} "c"\n5';
    const items = ['1', '2', '{"n":\n3}', '{"n":4}', '"c"', '5'];
    expect(slice(text)).toEqual(items);
    expect(slice(text, { kind: 'line' })).toEqual(items);
  });

  test('treats a single object as an item', () => {
    for (const kind of ['document', 'values', 'line'] as const) {
      expect(slice('{"n":1}\n', { kind })).toEqual(['{"n":1}']);
    }
  });

  test('of any kind reads the same wherever the chunks are cut', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { minLength: 1 }), chunkBytes, (values, bytes) => {
        const texts = values.map((value) => JSON.stringify({ value }));
        expect(slice(texts.join('\n'), { chunkBytes: bytes })).toEqual(texts);
      }),
    );
  });

  test('says on which line each item begins', () => {
    const slicer = new JsonSlicer('values', 1000);
    const items = [...slicer.push(Buffer.from('[1,\n{"a":\n2}\n, 3]\n4')), ...slicer.end()];
    expect(items.map(({ line }) => line)).toEqual([1, 2, 4, 5]);
  });
});

describe('what cannot be read', () => {
  test.each<[string, TextKind, number, number, RegExp]>([
    ['', 'values', 0, 1, /the input is empty/],
    ['{"a":1} {"a":2}', 'document', 8, 1, /text after the document/],
    ['\n 7', 'document', 2, 2, /no "processed_devices"/],
    ['{"processed_devices":{}}', 'values', 21, 1, /must be a list/],
    ['{"processed_devices":[],\n"processed_devices":[]}', 'values', 25, 2, /a duplicate/],
    ['[] []', 'document', 3, 1, /text after the document/],
    ['[{"type":laptop}]', 'values', 9, 1, /found laptop/],
    ['[01]', 'values', 1, 1, /found 01/],
    ['[1,]', 'values', 3, 1, /expected a value, found ]/],
    ['[1}', 'values', 2, 1, /expected a comma or a closing bracket, found }/],
    ['{"a" 1}', 'values', 5, 1, /expected a colon/],
    ["{'a':1}", 'values', 1, 1, /expected a name/],
    ['["a\nb"]', 'values', 3, 1, /control characters, found byte 0xa/],
    ['["\\x"]', 'values', 3, 1, /after a backslash/],
    ['["\\u00e"]', 'values', 7, 1, /hexadecimal/],
    ['["\\u00g0"]', 'values', 6, 1, /hexadecimal/],
    ['[1,\n2', 'values', 5, 2, /the input ends where a comma/],
    ['["a', 'values', 3, 1, /the input ends/],
    ['{"n":1}\n{"n":\n{"n":2', 'values', 20, 3, /the input ends/],
    ['{"n":', 'line', 5, 1, /the line ends where a value/],
  ])('%j as %s is an error at byte %i, line %i', (input, kind, offset, line, message) => {
    for (const bytes of [1, 3, 100]) {
      const error = failure(input, { kind, chunkBytes: bytes });
      expect({ offset: error.offset, line: error.line }).toEqual({ offset, line });
      expect(error.message).toMatch(message);
    }
  });

  test('is never accepted where JSON.parse refuses, nor refused where it accepts', () => {
    const texts = fc.oneof(
      documents.map(({ text }) => text),
      fc.stringMatching(/^[[\]{},:"\\tru0-9.eE+\- \n]{0,12}$/),
    );
    const edits = fc.array(
      fc.tuple(
        fc.nat(),
        fc.constantFrom(
          '[',
          ']',
          '{',
          '}',
          ',',
          ':',
          '"',
          '\\',
          ' ',
          '\n',
          '0',
          '.',
          '-',
          'e',
          'x',
          '\u0001',
        ),
      ),
      {
        maxLength: 2,
      },
    );
    fc.assert(
      fc.property(texts, edits, chunkBytes, (text, changes, bytes) => {
        const edited = changes.reduce((before, [at, character]) => {
          const place = at % (before.length + 1);
          return before.slice(0, place) + character + before.slice(place + 1);
        }, text);
        // The list is one item of a list, so that only the grammar can be wrong.
        const input = `[${edited}\n]`;
        expect(isRead(input, bytes)).toBe(isJson(input));
      }),
      { numRuns: 2000 },
    );
  });

  test('of any bytes whatever is an InputError or items', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 64 }),
        fc.constantFrom<TextKind>('document', 'values', 'line'),
        (bytes, kind) => {
          const slicer = new JsonSlicer(kind, 20);
          try {
            slicer.push(bytes);
            slicer.end();
          } catch (error) {
            expect(error).toBeInstanceOf(InputError);
          }
        },
      ),
    );
  });

  test('is text that is not UTF-8', () => {
    const bytes = Buffer.concat([Buffer.from('[1,"'), Buffer.from([0xff]), Buffer.from('"]')]);
    expect(failure(bytes)).toMatchObject({ offset: 3, line: 1 });
  });

  test('is what nests without end', () => {
    expect(failure('['.repeat(100_002), { chunkBytes: 4096, itemBytesMax: 1e6 }).message).toMatch(
      /nested/,
    );
  });
});

describe('the bound on an item', () => {
  const item = JSON.stringify('x'.repeat(98));

  test('is its size in bytes', () => {
    expect(slice(`[1,${item}]`, { itemBytesMax: 100 })).toEqual(['1', item]);
    for (const bytes of [1, 7, 1000]) {
      const error = failure(`[1,\n${item}]`, { itemBytesMax: 99, chunkBytes: bytes });
      expect(error).toMatchObject({ offset: 4, line: 2 });
      expect(error.message).toMatch(/larger than the 99 bytes/);
    }
  });

  test('holds for an item without an end', () => {
    const slicer = new JsonSlicer('values', 100);
    slicer.push(Buffer.from('["'));
    expect(() => {
      for (let chunks = 0; chunks < 3; chunks += 1) slicer.push(Buffer.alloc(60, 'x'));
    }).toThrow(InputError);
  });

  test('does not hold for the rest of a document', () => {
    const text = `{"notes":[${item},${item}],"processed_devices":[1],"more":${item}}`;
    for (const kind of ['document', 'values', 'line'] as const) {
      expect(slice(text, { itemBytesMax: 50, kind })).toEqual(['1']);
    }
  });

  test('holds for a line that is an item', () => {
    for (const bytes of [7, 1000]) {
      const error = failure(`1\n{"a":${item}}`, { itemBytesMax: 50, chunkBytes: bytes });
      expect(error).toMatchObject({ offset: 2, line: 2 });
    }
  });
});

describe('packing items', () => {
  const raw = (text: string): RawItem => ({ bytes: Buffer.from(text), offset: 0, line: 7 });
  const pack = async (items: string[], itemsMax: number, bytesMax: number) =>
    (await Array.fromAsync(packItems([items.map(raw)], { itemsMax, bytesMax }))).map((one) => ({
      ...one,
      body: one.body.toString(),
    }));

  test('fills each body to the most items', async () => {
    const isCutByTime = false;
    expect(await pack(['1', '2', '3'], 2, 1000)).toEqual([
      { body: '{"processed_devices":[1,2]}', items: 2, firstItem: 0, lines: [7, 7], isCutByTime },
      { body: '{"processed_devices":[3]}', items: 1, firstItem: 2, lines: [7], isCutByTime },
    ]);
  });

  test('fills each body to the most bytes, and not beyond', async () => {
    const items = ['"aaa"', '"bbb"', '"ccc"', '"d"'];
    const twoItems = '{"processed_devices":["aaa","bbb"]}';
    const packs = await pack(items, 1000, twoItems.length);
    expect(packs.map(({ body }) => body)).toEqual([twoItems, '{"processed_devices":["ccc","d"]}']);
    expect(await pack(items, 1000, twoItems.length - 1)).toHaveLength(3);
  });

  test('keeps all items in their order, within both bounds', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer()),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 40, max: 90 }),
        async (numbers, itemsMax, bytesMax) => {
          const packs = await pack(numbers.map(String), itemsMax, bytesMax);
          const lists = packs.map(
            ({ body }) => Object.values(JSON.parse(body) as object)[0] as number[],
          );
          expect(lists.flat()).toEqual(numbers);
          let firstItem = 0;
          for (const [at, one] of packs.entries()) {
            expect(one).toMatchObject({ items: lists[at]?.length, firstItem });
            expect(one.items).toBeLessThanOrEqual(itemsMax);
            expect(one.body.length).toBeLessThanOrEqual(bytesMax);
            firstItem += one.items;
          }
        },
      ),
    );
  });
});

function isRead(input: string, bytes: number): boolean {
  try {
    slice(input, { kind: 'document', chunkBytes: bytes });
    return true;
  } catch (error) {
    if (error instanceof InputError) return false;
    throw error;
  }
}

function isJson(input: string): boolean {
  try {
    JSON.parse(input);
    return true;
  } catch {
    return false;
  }
}
