import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { CounterTable, tableFull } from '../../../src/domain/fast/counter-table.ts';
import { scanMemory, type CounterTableLimits } from '../../../src/domain/fast/scan-memory.ts';
import { scanKernel } from '../../../src/engines/embedded/store/scan-kernel.ts';
import { addIncrement, rowsOfIncrements, type Increments } from '../../../src/domain/counter.ts';

const roomy: CounterTableLimits = { countersMax: 64, keyBytesMax: 4096 };

function find(table: CounterTable, date: number, type: string, state: string): number {
  const at = table.kernel.copy(Buffer.from(`${type}${state}..`));
  return table.find(date, at, type.length, at + type.length, state.length);
}

function add(table: CounterTable, ...numbers: number[]): void {
  table.addEach(Int32Array.from(numbers), numbers.length);
}

function unadmitted(table: CounterTable, ...numbers: number[]): readonly number[] {
  return table.newCounters(Int32Array.from(numbers), numbers.length);
}

function rows(increments: Increments): string[] {
  return [...rowsOfIncrements(increments)].map((row) => JSON.stringify(row)).sort();
}

describe('the table of counters', () => {
  it('adds up as maps do, whatever the names, over several rounds', () => {
    const name = fc.string({
      unit: fc.constantFrom('a', 'b', '#', '%', ' '),
      minLength: 1,
      maxLength: 9,
    });
    const item = fc.record({ date: fc.constantFrom(10101, 20230616), type: name, state: name });
    const rounds = fc.array(fc.array(item, { maxLength: 40 }), { maxLength: 4 });
    fc.assert(
      fc.property(rounds, fc.integer(), (batches, random) => {
        const table = new CounterTable(scanMemory({ countersMax: 40, keyBytesMax: 720 }), random);
        for (const items of batches) {
          const expected: Increments = new Map();
          const numbers: number[] = [];
          for (const { date, type, state } of items) {
            const number = find(table, date, type, state);
            if (number === tableFull) continue;
            numbers.push(number);
            addIncrement(expected, { date: dates[date] ?? '', type, state });
          }
          add(table, ...numbers);
          expect(rows(table.increments())).toEqual(rows(expected));
          expect(table.size).toBe(rows(expected).length);
          table.clear();
          expect(rows(table.increments())).toEqual([]);
        }
      }),
    );
  });

  it('clears increments of addIncrements, too', () => {
    const table = new CounterTable(scanMemory(roomy), 1);
    const increments: Increments = new Map();
    addIncrement(increments, { date: '2023-06-16', type: 'a', state: 'b' }, 3);
    table.addIncrements(increments);
    expect(rows(table.increments())).toEqual(rows(increments));
    expect(table.size).toBe(1);
    table.clear();
    expect(rows(table.increments())).toEqual([]);
    expect(table.size).toBe(0);
  });

  it('keeps names apart that are the same end to end', () => {
    const table = new CounterTable(scanMemory(roomy), 1);
    const numbers = [
      find(table, 20230616, 'ab', 'c'),
      find(table, 20230616, 'a', 'bc'),
      find(table, 20230617, 'ab', 'c'),
      find(table, 20230616, 'abcdef', 'g'),
      find(table, 20230616, 'abcde', 'fg'),
    ];
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(find(table, 20230616, 'ab', 'c')).toBe(numbers[0]);
  });

  it.each([
    ['WebAssembly', scanKernel()],
    ['TypeScript', undefined],
  ])('keeps names apart that differ after their sixteenth byte: %s', (name, module) => {
    // With few slots, a search meets other counters.
    const table = new CounterTable(scanMemory({ countersMax: 60, keyBytesMax: 4096 }), 1, module);
    expect(table.kernel.isCompiled).toBe(name === 'WebAssembly');
    const beginning = 'x'.repeat(16);
    const endings = Array.from(
      { length: 26 },
      (_, index) => beginning + String.fromCharCode(97 + index),
    );
    const all = [
      ...endings.map((type) => [type, 'a state of more than sixteen bytes'] as const),
      ...endings.map((state) => ['a type of more than sixteen bytes', state] as const),
    ];
    const findAll = () => all.map(([type, state]) => find(table, 20230616, type, state));
    const numbers = findAll();
    expect(new Set(numbers).size).toBe(all.length);
    expect(findAll()).toEqual(numbers);
  });

  it('has no room above the limit of counters, and continues with the known ones', () => {
    const table = new CounterTable(scanMemory({ ...roomy, countersMax: 3 }), 1);
    const known = ['a', 'b', 'c'].map((type) => find(table, 20230616, type, 'x'));
    expect(find(table, 20230616, 'd', 'x')).toBe(tableFull);
    expect(['a', 'b', 'c'].map((type) => find(table, 20230616, type, 'x'))).toEqual(known);
  });

  it('has no room for more bytes of names than it may hold', () => {
    const table = new CounterTable(scanMemory({ ...roomy, keyBytesMax: 10 }), 1);
    expect(find(table, 20230616, 'abcd', 'efgh')).not.toBe(tableFull);
    expect(find(table, 20230616, 'abc', 'd')).toBe(tableFull);
    expect(find(table, 20230616, 'a', 'b')).not.toBe(tableFull);
  });

  it('removes its counters at a clear if they fill half of it', () => {
    const table = new CounterTable(scanMemory({ ...roomy, countersMax: 2 }), 1);
    add(table, find(table, 20230616, 'a', 'x'), find(table, 20230616, 'b', 'x'));
    expect(find(table, 20230616, 'c', 'x')).toBe(tableFull);
    table.clear();
    add(table, find(table, 20230616, 'c', 'x'));
    expect(rows(table.increments())).toEqual([
      '{"date":"2023-06-16","type":"c","state":"x","count":1}',
    ]);
    // As often as it takes: no place of the hash table is lost.
    for (let round = 0; round < 50; round++) {
      table.clear();
      expect(find(table, 20230616, `round ${round}`, 'x')).toBe(0);
    }
  });

  it('keeps names and admissions after a clear if they do not fill half of the table', () => {
    const table = new CounterTable(scanMemory({ ...roomy, countersMax: 4 }), 1);
    const known = find(table, 20230616, 'a', 'x');
    table.admit([known]);
    table.clear();
    expect(find(table, 20230616, 'a', 'x')).toBe(known);
    expect(unadmitted(table, known)).toEqual([]);
    const other = find(table, 20230616, 'b', 'x');
    expect(unadmitted(table, known, other)).toEqual([other]);
  });

  it('keeps which are not admitted after a clear if the names do not fill half of the table', () => {
    const table = new CounterTable(scanMemory({ ...roomy, countersMax: 8 }), 1);
    const numbers = [find(table, 20230616, 'a', 'x'), find(table, 20230616, 'b', 'x')];
    table.admit(numbers.slice(0, 1));
    table.clear();
    expect(unadmitted(table, ...numbers)).toEqual(numbers.slice(1));
  });

  it.each([
    ['the names', { countersMax: 2, keyBytesMax: 4096 }],
    ['the bytes of the names', { countersMax: 64, keyBytesMax: 4 }],
  ])('forgets all where %s fill half of the room', (_, limits) => {
    const table = new CounterTable(scanMemory(limits), 1);
    const before = find(table, 20230616, 'a', 'x');
    table.admit([before]);
    table.clear();
    // Two more counters have room again, and the first one takes the number of the one before.
    const numbers = [find(table, 20230616, 'b', 'x'), find(table, 20230616, 'c', 'x')];
    expect(numbers).toEqual([before, before + 1]);
    expect(unadmitted(table, ...numbers)).toEqual(numbers);
    expect(table.counter(before)).toEqual({ date: '2023-06-16', type: 'b', state: 'x' });
  });

  it('checks no counter if all are admitted, also after a clear', () => {
    // The list that is returned without looking is always the same one.
    const withoutLooking = unadmitted(new CounterTable(scanMemory(roomy), 1));
    const table = new CounterTable(scanMemory({ ...roomy, countersMax: 2 }), 1);
    find(table, 20230616, 'a', 'x');
    table.clear();
    const number = find(table, 20230616, 'b', 'x');
    expect(unadmitted(table, number)).toEqual([number]);
    table.admit([number]);
    expect(unadmitted(table, number)).toBe(withoutLooking);
    table.forgetAdmissions();
    table.admit(unadmitted(table, number));
    expect(unadmitted(table, number)).toBe(withoutLooking);
  });

  it('names each counter that is not admitted once, in order, until it is admitted', () => {
    const table = new CounterTable(scanMemory(roomy), 1);
    const [a, b, c] = ['a', 'b', 'c'].map((type) => find(table, 20230616, type, 'x')) as [
      number,
      number,
      number,
    ];
    expect(unadmitted(table, b, a, b, a)).toEqual([b, a]);
    expect(unadmitted(table, b, a, b, a)).toEqual([b, a]);
    table.admit([b]);
    expect(unadmitted(table, a, b, c)).toEqual([a, c]);
    table.admit([a, c]);
    expect(unadmitted(table, a, b, c)).toEqual([]);
    table.forgetAdmissions();
    expect(unadmitted(table, a, b, c)).toEqual([a, b, c]);
  });

  it('adds increments with any names', () => {
    const table = new CounterTable(scanMemory(roomy), 1);
    add(table, find(table, 20230616, 'a', 'x'));
    const more: Increments = new Map();
    addIncrement(more, { date: '2023-06-16', type: 'a', state: 'x' }, 4);
    addIncrement(more, { date: '2023-06-16', type: 'größer', state: 'x' }, 2);
    table.addIncrements(more);
    expect(rows(table.increments())).toEqual([
      '{"date":"2023-06-16","type":"a","state":"x","count":5}',
      '{"date":"2023-06-16","type":"größer","state":"x","count":2}',
    ]);
  });
});

const dates: Record<number, string> = { 10101: '0001-01-01', 20230616: '2023-06-16' };
