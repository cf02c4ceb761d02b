import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  fieldBytesMax,
  readDeviceEvent,
  type EventField,
  type ItemErrorCode,
} from '../../../src/domain/device-event.ts';

const valid = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };

/** The code of the only error of an item that differs from a valid one in one field. */
function codeOf(field: EventField, value: unknown): ItemErrorCode | undefined {
  const reading = readDeviceEvent({ ...valid, [field]: value });
  if (reading.valid) return undefined;
  expect(reading.errors).toHaveLength(1);
  expect(reading.errors[0]?.field).toBe(field);
  return reading.errors[0]?.code;
}

const names = ['type', 'state'] as const;

describe('an event', () => {
  it('is read with the date that it counts on', () => {
    expect(readDeviceEvent(valid)).toEqual({
      valid: true,
      event: { ...valid, date: '2023-06-16' },
    });
  });

  it('leaves out members that are not ours', () => {
    const reading = readDeviceEvent({ ...valid, serial: 'X1', date: '1999-01-01' });
    expect(reading).toEqual({ valid: true, event: { ...valid, date: '2023-06-16' } });
  });

  it.each([null, undefined, 1, true, 'laptop', [], [valid]].map((item) => [item]))(
    '%j is no item',
    (item) => {
      expect(readDeviceEvent(item)).toEqual({
        valid: false,
        code: 'not_an_object',
        errors: [
          {
            field: null,
            code: 'not_an_object',
            message: 'the item must be an object with type, state and timestamp',
          },
        ],
      });
    },
  );

  it('is not taken from the prototype of its item', () => {
    const item: unknown = JSON.parse(`{"__proto__":${JSON.stringify(valid)}}`);
    expect(readDeviceEvent(item)).toMatchObject({ valid: false });
  });
});

describe.each(names)('the %s', (field) => {
  const cases: readonly [ItemErrorCode | undefined, string, unknown][] = [
    ['missing', 'absent', undefined],
    ['not_a_string', 'null', null],
    ['not_a_string', 'a number', 1],
    ['not_a_string', 'an object', {}],
    ['not_a_string', 'a list', ['laptop']],
    ['blank', 'empty', ''],
    ['blank', 'only spaces', '   '],
    ['blank', 'only Unicode white space', '\u3000\u2028\u0085'],
    ['too_long', 'of 129 bytes', 'x'.repeat(129)],
    ['not_unicode', 'a lone high surrogate', 'a\ud800b'],
    ['not_unicode', 'a lone low surrogate', 'a\udc00b'],
    ['not_unicode', 'surrogates the wrong way round', 'a\udc00\ud800b'],
    ['control_character', 'with a NUL', 'a\u0000b'],
    ['control_character', 'with a line feed', 'a\nb'],
    ['control_character', 'with a delete character', 'a\u007fb'],
    ['edge_whitespace', 'with a space before it', ' laptop'],
    ['edge_whitespace', 'with a space after it', 'laptop '],
    [undefined, 'with a space in it', 'erasure failed'],
    [undefined, 'of one character', '#'],
    [
      undefined,
      'with a C1 control character in it, which is not one of the rejected ones',
      'a\u0086b',
    ],
  ];
  it.each(cases)('%s: %s', (code, _, value) => {
    expect(codeOf(field, value)).toBe(code);
  });

  // An item is refused for the first of these that holds.
  const precedence: readonly [ItemErrorCode, string, string][] = [
    ['too_long', 'blank', ' '.repeat(129)],
    ['too_long', 'not_unicode', '\ud800'.repeat(43)],
    ['too_long', 'control_character', '\u0000'.repeat(129)],
    ['too_long', 'edge_whitespace', ` ${'x'.repeat(128)}`],
    ['blank', 'control_character', '\t\n'],
    ['blank', 'edge_whitespace', ' '],
    ['not_unicode', 'control_character', '\u0000\ud800'],
    ['not_unicode', 'edge_whitespace', ' \ud800 '],
    ['control_character', 'edge_whitespace', '\u0000 '],
    ['control_character', 'edge_whitespace', '\tlaptop'],
  ];
  it.each(precedence)('%s goes before %s: %j', (code, _, value) => {
    expect(codeOf(field, value)).toBe(code);
  });

  const edges: readonly [bytesPerCharacter: number, string][] = [
    [1, 'x'],
    [1, '"'],
    [2, 'é'],
    [3, '€'],
    [4, '💻'],
  ];
  it.each(edges)('may be 128 bytes long and not one more, in characters of %i: %s', (size, one) => {
    const full = one.repeat(Math.floor(fieldBytesMax / size)).padEnd(one.length, 'x');
    const filled = full + 'x'.repeat(fieldBytesMax - Buffer.byteLength(full));
    expect(Buffer.byteLength(filled)).toBe(128);
    expect(codeOf(field, filled)).toBeUndefined();
    expect(codeOf(field, `${filled}x`)).toBe('too_long');
    expect(codeOf(field, `x${filled}`)).toBe('too_long');
    expect(codeOf(field, one + filled)).toBe('too_long');
  });

  it('is as long as its UTF-8, for any characters', () => {
    const text = fc.string({ unit: 'binary', minLength: 20, maxLength: 140 }).map((s) => `x${s}x`);
    fc.assert(
      fc.property(text, (name) => {
        expect(codeOf(field, name) === 'too_long').toBe(Buffer.byteLength(name) > 128);
      }),
    );
  });
});

describe('white space at an edge', () => {
  // All of Unicode's White_Space except control characters, which another rule rejects.
  const whiteSpace = [
    0x20, 0x85, 0xa0, 0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007,
    0x2008, 0x2009, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000,
  ].map((point) => String.fromCodePoint(point));
  /** What `trim` takes for white space and Unicode does not, and what only looks like it. */
  const lookalikes = ['\u200b', '\u200d', '\u2060', '\ufeff', '\u180e', '\u00ad', '\u3164'];

  it('is refused for every character with the property White_Space', () => {
    for (const space of whiteSpace) {
      expect(codeOf('type', `${space}x`), escape(space)).toBe('edge_whitespace');
      expect(codeOf('type', `x${space}`), escape(space)).toBe('edge_whitespace');
      expect(codeOf('type', `x${space}x`), escape(space)).toBeUndefined();
      expect(codeOf('type', space), escape(space)).toBe('blank');
    }
  });

  it('is not seen in a character without it', () => {
    for (const other of lookalikes) {
      expect(codeOf('state', `${other}x${other}`), escape(other)).toBeUndefined();
      expect(codeOf('state', other), escape(other)).toBeUndefined();
    }
  });

  it('is a control character where it is one', () => {
    for (const control of ['\t', '\n', '\u000b', '\f', '\r']) {
      expect(codeOf('type', `${control}x`)).toBe('control_character');
      expect(codeOf('type', control)).toBe('blank');
    }
  });
});

describe('the timestamp', () => {
  const longest = `2023-06-16T13:00:00.${'1'.repeat(107)}Z`;
  const cases: readonly [ItemErrorCode | undefined, unknown][] = [
    ['missing', undefined],
    ['not_a_string', null],
    ['not_a_string', 1_686_920_400],
    ['not_rfc3339', ''],
    ['not_rfc3339', ' 2023-06-16T13:00:00Z'],
    ['not_rfc3339', '2023-02-30T13:00:00Z'],
    [undefined, longest],
    ['too_long', longest.replace('Z', '1Z')],
    ['too_long', 'é'.repeat(65)],
  ];
  it.each(cases)('%s: %j', (code, value) => {
    expect(codeOf('timestamp', value)).toBe(code);
  });

  it('may be as long as a name', () => {
    expect(Buffer.byteLength(longest)).toBe(fieldBytesMax);
  });
});

describe('the errors of an item', () => {
  it('name every bad field once, in the order type, state, timestamp', () => {
    const value = (good: string) =>
      fc.oneof(
        fc.constant({ value: good, isGood: true }),
        fc
          .constantFrom<unknown>(undefined, null, 7, '', ' x', 'x'.repeat(129))
          .map((bad) => ({ value: bad, isGood: false })),
      );
    fc.assert(
      fc.property(
        value(valid.type),
        value(valid.state),
        value(valid.timestamp),
        (type, state, timestamp) => {
          const fields = { type, state, timestamp };
          const item = { type: type.value, state: state.value, timestamp: timestamp.value };
          const reading = readDeviceEvent(item);
          const bad = (Object.keys(fields) as EventField[]).filter((name) => !fields[name].isGood);
          const errors = reading.valid ? [] : reading.errors;
          expect(errors.map(({ field }) => field)).toEqual(bad);
          for (const { field, message } of errors) {
            expect(message.startsWith(`${String(field)} `)).toBe(true);
          }
        },
      ),
    );
  });

  it('are none for a name that differs from another in bytes alone', () => {
    const composed = 'caf\u00e9';
    const decomposed = 'cafe\u0301';
    for (const type of [composed, decomposed, 'Laptop', 'laptop']) {
      expect(readDeviceEvent({ ...valid, type })).toMatchObject({ valid: true, event: { type } });
    }
  });
});

function escape(character: string): string {
  return `U+${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`;
}
