import { describe, expect, it } from 'vitest';

import { readBatch } from '../../../src/domain/batch.ts';
import { tortures } from '../../fuzz/torture.ts';

/** Bodies by result: the number of accepted items and why others are rejected, or the code. */
const results: Record<string, readonly string[]> = {
  invalid_json: [
    'nothing but white space',
    'white space that JSON does not know',
    'form feed',
    'two byte order marks',
    'two documents',
    'a comma behind',
    'a NUL behind',
    'a NUL before',
    'a comment',
    'a comment behind',
    'single quotes',
    'no quotes',
    'trailing commas',
    'leading zeros',
    'minus alone',
    'plus',
    'a point alone',
    'a point at the end',
    'hexadecimal',
    'NaN and Infinity',
    'full-width digits',
    'half a true',
    'a capital True',
    'a tab in a string',
    'a line end in a string',
    'an escape that is none',
    'half an escape',
    'an escape at the end',
    'open brackets',
    'open braces',
    'closed brackets',
    'brackets in the list',
    'nested one deeper',
    'quotes without end',
    'backslashes without end',
    'an overlong NUL',
    'an overlong slash',
    'an overlong quote',
    'overlong of four bytes',
    'an encoded high surrogate',
    'an encoded pair (CESU-8)',
    'beyond U+10FFFF',
    'five bytes',
    'a continuation alone',
    'cut within a character',
    'cut within a character at the end',
    'Latin 1',
    '0xFF',
    'bad bytes in another member',
    'bad bytes behind',
    'UTF-16LE with its mark',
    'UTF-16LE without',
    'UTF-16BE with its mark',
    'half a byte order mark',
  ],
  '1 taken': [
    'byte order mark',
    'line separators in a string',
    'the list twice, the first no list',
    'the list by an escaped name',
    'type twice',
    'type twice, escaped',
    'many times',
    'constructor and the like',
    'huge exponent',
    'huge negative exponent',
    'exponent of many digits',
    'ten thousand digits',
    'ten thousand digits behind the point',
    'a pair, escaped',
    'a lone surrogate in another member',
    'noncharacters',
    'a name of 128 bytes',
    'a huge string',
    'a huge string of escapes',
    'a huge key',
    'as many keys',
    'keys that are indices',
    'nested as deep as allowed',
    'brackets in strings',
  ],
  invalid_body: [
    'a scalar',
    'a string',
    'a list',
    'no list',
    'a list by another name',
    '__proto__ beside the list',
  ],
  '0 taken': ['the list twice, the second empty'],
  '0 taken, missing': ['__proto__ as a member', 'many empty items'],
  '0 taken, control_character': ['an escaped NUL'],
  '0 taken, not_unicode': [
    'a lone high surrogate',
    'a lone low surrogate',
    'surrogates turned round',
    'a high surrogate and text',
  ],
  '0 taken, too_long': ['a name with 43 letters of three bytes', 'a huge name'],
  '0 taken, not_an_object': ['many nulls'],
  '29 taken': ['naughty names'],
  empty_body: ['nothing'],
};

describe('a torture of JSON', () => {
  const cases = Object.entries(results).flatMap(([what, names]) =>
    names.map((name) => [name, what]),
  );

  it.each(cases)('%s: %s', (name, what) => {
    const body = tortures.get(name);
    expect(body).toBeDefined();
    const reading = readBatch(body ?? Buffer.alloc(0));
    if (!reading.readable) {
      expect(reading.code).toBe(what);
      return;
    }
    const [error] = reading.errors;
    expect(`${reading.events.length} taken${error ? `, ${error.code}` : ''}`).toBe(what);
  });

  it('is listed here, whatever it is', () => {
    expect(cases.map(([name]) => name).sort()).toEqual([...tortures.keys()].sort());
  });
});

it('members that objects have from elsewhere are no members of an item', () => {
  const inherited = '{"processed_devices":[{"__proto__":{"type":"a","state":"b"},"timestamp":""}]}';
  expect(readBatch(Buffer.from(inherited))).toMatchObject({ events: [], rejected: 1 });
  const { type, state } = {} as { type?: unknown; state?: unknown };
  expect([type, state]).toEqual([undefined, undefined]);
});
