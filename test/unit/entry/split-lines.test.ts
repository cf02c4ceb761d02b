import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

import type { RawItem } from '../../../src/entry/ingest/split-json.ts';
import { layoutOf, LineSlicer, type BadLine } from '../../../src/entry/ingest/split-lines.ts';

interface SliceOptions {
  chunkBytes?: number;
  itemBytesMax?: number;
  lineBytesMax?: number;
}

function slice(input: string | Uint8Array, options: SliceOptions = {}) {
  const { chunkBytes = 7, itemBytesMax = 10_000, lineBytesMax = 1_000_000 } = options;
  const bytes = Buffer.from(input);
  const bad: BadLine[] = [];
  const slicer = new LineSlicer(itemBytesMax, (line) => bad.push(line), { lineBytesMax });
  let items: RawItem[] = [];
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    items = items.concat(slicer.push(bytes.subarray(at, at + chunkBytes)));
  }
  items = items.concat(slicer.end());
  for (const item of items) {
    const there = bytes.subarray(item.offset, item.offset + item.bytes.length);
    expect(Buffer.compare(there, item.bytes)).toBe(0);
  }
  const texts = items.map(({ bytes: text, line }) => `${line} ${Buffer.from(text).toString()}`);
  return { items: texts, bad: bad.map(({ message }) => message) };
}

describe('slicing NDJSON', () => {
  test('gives the items of each line with its number, without blank lines and line ends', () => {
    const text = '{"a":1}\r\n\r\n  \n{"processed_devices":[2,3]}\n[4] "c"\n5';
    const items = ['1 {"a":1}', '4 2', '4 3', '5 4', '5 "c"', '6 5'];
    expect(slice(text)).toEqual({ items, bad: [] });
  });

  test.each([
    ['{"n":', /^line 2, byte offset 13: the line ends where a value should follow$/],
    ['{"n":oops}', /^line 2, byte offset 13: expected a value, found oops$/],
    ['{"n":"x', /^line 2, byte offset 15: the line ends where a string/],
    ['[1,2', /^line 2, byte offset 12: the line ends where a comma/],
    ['{"processed_devices":[1,2],"processed_devices":[3]}', /^line 2, .*a duplicate/],
    ['}', /^line 2, byte offset 8: expected a value, found }/],
    [
      `${'['.repeat(64)}${']'.repeat(64)}`,
      /^line 2, byte offset 9: the item that begins here is nested too deep/,
    ],
    [`"${'x'.repeat(200)}"`, /^line 2, byte offset 8: .*too large for an item/],
    [`[1,"${'x'.repeat(200)}"]`, /^line 2, byte offset 11: .*larger than the 150 bytes/],
    [' '.repeat(300), /^line 2, byte offset 8: the line is longer than 250 bytes/],
  ])('names a bad line and reads the others: %j', (line, message) => {
    for (const chunkBytes of [1, 5, 1000]) {
      const text = `{"n":1}\n${line}\n{"n":3}\n{"n":4}`;
      const options = { chunkBytes, itemBytesMax: 150, lineBytesMax: 250 };
      const { items, bad } = slice(text, options);
      expect(items).toEqual(['1 {"n":1}', '3 {"n":3}', '4 {"n":4}']);
      expect(bad).toEqual([expect.stringMatching(message)]);
    }
  });

  test('names a line that is not UTF-8', () => {
    const text = Buffer.from('{"n":1}\n{"n":"\xff"}\n{"n":3}', 'latin1');
    expect(slice(text)).toEqual({
      items: ['1 {"n":1}', '3 {"n":3}'],
      bad: ['line 2, byte offset 8: the item that begins here is not UTF-8'],
    });
  });

  test('takes an item that nests as deep as the server takes it', () => {
    const item = `${'{"a":'.repeat(62)}1${'}'.repeat(62)}`;
    expect(slice(item)).toMatchObject({ items: [`1 ${item}`], bad: [] });
    expect(slice(`[{"a":${item}}]`).bad).toHaveLength(1);
  });

  test('loses no good line, and names each bad one, wherever the chunks are cut', () => {
    const lines = fc.array(
      fc.oneof(
        fc.jsonValue().map((value) => ({ text: JSON.stringify({ value }), isGood: true })),
        fc
          .constantFrom('{', '"', 'oops', '[1,', '{"a":1}}')
          .map((text) => ({ text, isGood: false })),
      ),
    );
    fc.assert(
      fc.property(lines, fc.integer({ min: 1, max: 40 }), (all, chunkBytes) => {
        const { items, bad } = slice(all.map(({ text }) => text).join('\n'), { chunkBytes });
        const numbered = all.map(({ text, isGood }, at) => ({ text: `${at + 1} ${text}`, isGood }));
        expect(items).toEqual(numbered.filter(({ isGood }) => isGood).map(({ text }) => text));
        expect(bad.map((message) => Number(/^line (\d+),/.exec(message)?.[1]))).toEqual(
          numbered.flatMap(({ isGood }, at) => (isGood ? [] : [at + 1])),
        );
      }),
    );
  });

  test('takes a line with more items than a call has arguments', () => {
    expect(slice(`[${'1,'.repeat(200_000)}1]`, { chunkBytes: 1e6 }).items).toHaveLength(200_001);
  });
});

describe('the layout of a text', () => {
  test.each([
    ['{"a":1}\n{"a":2}\n', true, 'lines'],
    ['\n{"a":1}\n', false, 'lines'],
    ['{"a":1}', false, undefined],
    ['{"processed_devices":[1]}\n', true, 'document'],
    ['{"a":1}', true, 'document'],
    ['{\n"a":1}', true, 'document'],
    ['[\n{"a":1}\n]', true, 'document'],
    ['{oops}\n{"a":2}\n', true, 'lines'],
    ['oops\n{"a":2}\n', true, 'lines'],
    ['oops\n', false, undefined],
    ['oops\noh no\n{"a":3}\n', true, 'lines'],
    ['oops\noh no\n', false, undefined],
    ['{"type":"phone","state":"era\n{"a":2}\n', false, 'lines'],
    ['{"type":"phone","state":\n{"a":2}\n', true, 'lines'],
    ['{"type":"phone","state":\n{"a":2}\n', false, undefined],
    ['{"type":"phone",\n{"a":2}\n{"a":3}\n', false, 'lines'],
    ['{\n"a":1\n}\n{"a":2}\n{"a":3}\n', true, 'document'],
    ['{"processed_devices":[\n{"a":1}\n{"a":2}\n]}', true, 'document'],
    ['{\n"processed_devices": [\n{"a":1},\n{"a":oops},\n{"a":2}\n]}', true, 'document'],
    [`${'oops\n'.repeat(20)}{"a":1}\n`, false, 'document'],
    ['{oops}', true, 'document'],
    ['{ oops,\n"processed_devices": [\n', true, 'document'],
    ['[ oops,\n{"a":2}\n]', true, 'document'],
    ['', true, 'document'],
  ])('%j (whole: %s) is %s', (text, isWhole, layout) => {
    expect(layoutOf(Buffer.from(text), isWhole)).toBe(layout);
  });
});
