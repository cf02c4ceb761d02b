import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  addIncrement,
  compareCounters,
  compareUtf8,
  mergeIncrements,
  rowsOfIncrements,
  typeStateKey,
  type CounterRow,
  type Increments,
} from '../../../src/domain/counter.ts';

const wellFormed = fc.string({ unit: 'binary', maxLength: 12 });
const names = fc.oneof(
  fc.string({ unit: fc.constantFrom('%', '#', '2', '5', '3', 'a', 'é', '💻'), maxLength: 6 }),
  wellFormed,
);

/** All texts of up to three of the characters that matter to the escaping. */
function shortTexts(): string[] {
  const characters = ['%', '#', '2', '3', '5'];
  let longest = [''];
  const all = [''];
  for (let length = 1; length <= 3; length++) {
    longest = longest.flatMap((text) => characters.map((character) => text + character));
    all.push(...longest);
  }
  return all;
}

describe('the sort key of a counter', () => {
  it('is type, #, state', () => {
    expect(typeStateKey('laptop', 'erased')).toBe('laptop#erased');
  });

  it('writes % and # in the type alone as %25 and %23', () => {
    expect(typeStateKey('a#b%c', 'd#e%f')).toBe('a%23b%25c#d#e%f');
    expect(typeStateKey('a%23', 'b')).toBe('a%2523#b');
  });

  it('is one for each pair of names', () => {
    const texts = shortTexts();
    const keys = new Set(texts.flatMap((type) => texts.map((state) => typeStateKey(type, state))));
    expect(keys.size).toBe(texts.length ** 2);
  });

  it('distinguishes type and state, for any names', () => {
    fc.assert(
      fc.property(names, names, (type, state) => {
        const key = typeStateKey(type, state);
        const mark = key.indexOf('#');
        const typeAgain = key.slice(0, mark).replaceAll('%23', '#').replaceAll('%25', '%');
        expect([typeAgain, key.slice(mark + 1)]).toEqual([type, state]);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('the order of counters', () => {
  /** The order of code points is the order of UTF-8 bytes (RFC 3629, section 1). */
  function compareCodePoints(a: string, b: string): number {
    const [left, right] = [a, b].map((text) => Array.from(text, (c) => c.codePointAt(0) ?? 0));
    for (const [index, point] of (left ?? []).entries()) {
      const other = right?.[index];
      if (other === undefined) return 1;
      if (point !== other) return point < other ? -1 : 1;
    }
    return (left?.length ?? 0) === (right?.length ?? 0) ? 0 : -1;
  }

  it('is that of the UTF-8 bytes, for any texts', () => {
    fc.assert(
      fc.property(wellFormed, wellFormed, (a, b) => {
        expect(compareUtf8(a, b)).toBe(compareCodePoints(a, b));
      }),
      { numRuns: 1000 },
    );
  });

  it('has a character beyond U+FFFF after U+FFFF, unlike the order of JavaScript', () => {
    expect(['\uffff', '\u{10000}'].sort()).toEqual(['\u{10000}', '\uffff']);
    expect(compareUtf8('\u{10000}', '\uffff')).toBe(1);
    const row = (type: string) => ({ date: '2023-06-16', type, state: 'x' });
    expect(compareCounters(row('\u{10000}'), row('\uffff'))).toBe(1);
  });

  it('goes by date, then by the sort key', () => {
    const sorted = [
      ['2023-06-15', 'z', 'z'],
      ['2023-06-16', 'a!', 'z'],
      ['2023-06-16', 'a', 'a'],
      ['2023-06-16', 'a', 'b'],
      ['2023-06-16', 'a$', 'a'],
      // Its sort key begins with a%23.
      ['2023-06-16', 'a#', 'a'],
      ['2023-06-16', '\uffff', 'a'],
      ['2023-06-16', '💻', 'a'],
    ].map(([date = '', type = '', state = '']) => ({ date, type, state }));
    expect(sorted.toReversed().sort(compareCounters)).toEqual(sorted);
  });

  it('makes no two counters equal', () => {
    fc.assert(
      fc.property(names, names, names, names, (type, state, otherType, otherState) => {
        const date = '2023-06-16';
        const order = compareCounters(
          { date, type, state },
          { date, type: otherType, state: otherState },
        );
        expect(order === 0).toBe(type === otherType && state === otherState);
      }),
    );
  });
});

describe('increments', () => {
  const rows = fc.array(
    fc.record({
      date: fc.constantFrom('2023-06-15', '2023-06-16'),
      type: fc.constantFrom('a', 'b', '__proto__', 'a#b', ''),
      state: fc.constantFrom('a', 'constructor', 'b#c', '#'),
      count: fc.integer({ min: 1, max: 1000 }),
    }),
  );

  function incrementsOf(increments: readonly CounterRow[]): Increments {
    const sum: Increments = new Map();
    for (const row of increments) addIncrement(sum, row, row.count);
    return sum;
  }

  function sumsOf(increments: readonly CounterRow[]): Record<string, number> {
    const sums = new Map<string, number>();
    for (const { date, type, state, count } of increments) {
      const key = JSON.stringify([date, type, state]);
      sums.set(key, (sums.get(key) ?? 0) + count);
    }
    return Object.fromEntries(sums);
  }

  it('counts one more where no count is said, and says which counters are new', () => {
    const sum: Increments = new Map();
    const counter = { date: '2023-06-16', type: 'laptop', state: 'erased' };
    expect(addIncrement(sum, counter)).toBe(1);
    expect(addIncrement(sum, counter)).toBe(0);
    expect([...rowsOfIncrements(sum)]).toEqual([{ ...counter, count: 2 }]);
  });

  it('holds the sum of all increments, each counter once', () => {
    fc.assert(
      fc.property(rows, (increments) => {
        const held = [...rowsOfIncrements(incrementsOf(increments))];
        const sums = sumsOf(increments);
        expect(held).toHaveLength(Object.keys(sums).length);
        expect(sumsOf(held)).toEqual(sums);
      }),
    );
  });

  it('merged with another holds the increments of both, and says how many counters are new', () => {
    fc.assert(
      fc.property(rows, rows, (first, second) => {
        const sum = incrementsOf(first);
        const more = incrementsOf(second);
        const added = mergeIncrements(sum, more);
        expect(sumsOf([...rowsOfIncrements(sum)])).toEqual(sumsOf([...first, ...second]));
        expect(added).toBe(
          Object.keys(sumsOf([...first, ...second])).length - Object.keys(sumsOf(first)).length,
        );
        expect(sumsOf([...rowsOfIncrements(more)]), 'the other is as it was').toEqual(
          sumsOf(second),
        );
      }),
    );
  });
});
