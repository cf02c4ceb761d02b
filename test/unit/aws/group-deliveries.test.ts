import { describe, expect, it } from 'vitest';

import { batchIdMaker, blockIdsMax } from '../../../src/domain/batch-id.ts';
import { addIncrement, rowsOfIncrements, type Increments } from '../../../src/domain/counter.ts';
import { groupDeliveries, sumOf } from '../../../src/engines/aws/counters/counter-store.ts';
import {
  dedupKeyOf,
  rowTextOf,
  type DedupKey,
} from '../../../src/engines/aws/ledger/dedup-records.ts';
import type { Delivery } from '../../../src/pipeline/ports.ts';

type Applied = Delivery<DedupKey>;

function delivery(dedupKey: DedupKey, types: readonly string[]): Applied {
  const increments: Increments = new Map();
  for (const type of types) addIncrement(increments, { date: '2023-06-16', type, state: 'ready' });
  return { dedupKey, increments };
}

const rowOf = (id: string | number): DedupKey => ({ id: String(id), entry: 'chunk' });
const rows = (group: readonly Applied[]) =>
  new Set(group.map(({ dedupKey }) => rowTextOf(dedupKey))).size;
const writes = (group: readonly Applied[]) =>
  rows(group) + [...rowsOfIncrements(sumOf(group))].length;
const names = (count: number, from = 0) =>
  Array.from({ length: count }, (_, at) => `type ${from + at}`);

describe('deliveries', () => {
  it('share a transaction while their dedup records and counters are at most a hundred', () => {
    const same = Array.from({ length: 200 }, (_, at) => delivery(rowOf(at), names(20)));
    const groups = groupDeliveries(same);
    expect(groups.map(writes)).toEqual([100, 100, 60]);
    expect(groups.flat()).toEqual(same);
  });

  it('without common counters take a transaction each if two do not fit', () => {
    const apart = [
      delivery(rowOf('a'), names(80)),
      delivery(rowOf('b'), names(80, 80)),
      delivery(rowOf('c'), names(18, 80)),
    ];
    expect(groupDeliveries(apart).map((group) => group.map(({ dedupKey }) => dedupKey.id))).toEqual(
      [['a'], ['b', 'c']],
    );
  });

  it('without counts have dedup records, too', () => {
    const empty = Array.from({ length: 101 }, (_, at) => delivery(rowOf(at), []));
    expect(groupDeliveries(empty).map(writes)).toEqual([100, 1]);
    expect(groupDeliveries([])).toEqual([]);
  });

  it('of few blocks are all in one transaction, however they are mixed', () => {
    const makers = [1, 2, 3].map((seed) => batchIdMaker((count) => Buffer.alloc(count, seed)));
    const mixed = Array.from({ length: 3 * blockIdsMax }, (_, at) => {
      const make = makers[at % makers.length] ?? expect.fail();
      return delivery(dedupKeyOf(make(Date.UTC(2026, 10, 30) + at, 1), 0), names(30));
    });
    const groups = groupDeliveries(mixed);
    expect(groups.map((group) => [group.length, rows(group), writes(group)])).toEqual([
      [3 * blockIdsMax, 3, 33],
    ]);
  });

  it('of many blocks are sorted, so that no block is in more than two transactions', () => {
    const makers = Array.from({ length: 150 }, (_, seed) =>
      batchIdMaker((count) => Buffer.alloc(count, seed)),
    );
    const mixed = Array.from({ length: 600 }, (_, at) => {
      const make = makers[at % makers.length] ?? expect.fail();
      return delivery(dedupKeyOf(make(Date.UTC(2026, 10, 30) + at, 1), 0), names(30));
    });
    expect(groupDeliveries(mixed).map((group) => [group.length, rows(group)])).toEqual([
      [280, 70],
      [280, 70],
      [40, 10],
    ]);
  });
});
