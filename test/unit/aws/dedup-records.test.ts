import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { describe, expect, it } from 'vitest';

import { itemBytes } from '../../../bench/aws/dynamodb-units.ts';
import { batchIdMaker, blockIdsMax } from '../../../src/domain/batch-id.ts';
import {
  batchesInBlock,
  dedupKeyOf,
  dedupStateIn,
  droppedRecord,
  newRecords,
  removedFromBlock,
} from '../../../src/engines/aws/ledger/dedup-records.ts';
import { chunkRowOf, ledgerRowsOf } from '../../../src/engines/aws/ledger/ledger-rows.ts';
import { chunkKey } from '../../../src/engines/aws/ledger/ledger-table.ts';
import { randomFrom } from '../../model/simulated-aws/aws-random.ts';
import {
  AwsSimulation,
  countersTable,
  ledgerTable,
} from '../../model/simulated-aws/aws-simulation.ts';
import { earlierCarriedId } from '../../support/aws/earlier-ids.ts';

const now = Date.UTC(2026, 10, 30, 12);
const dayMs = 86_400_000;
const kept = { now, keepMs: 90 * dayMs };
const random = randomFrom(5);
const makeId = () => batchIdMaker((count) => random.bytes(count));

/** The ids of as many batches of one block. */
function idsOfBlock(count: number): string[] {
  const make = makeId();
  return Array.from({ length: count }, (_, at) => make(now + 7 * at, 1 + (at % 255)));
}

/** A ledger, and the way in which transactions change it. */
function openLedger() {
  const { dynamodb } = new AwsSimulation({ now: () => now, makeId: () => random.uuid() });
  const ledger = dynamodb.tables.get(ledgerTable) ?? expect.fail(countersTable);
  let token = 0;
  return {
    ledger,
    write: (...TransactItems: ReturnType<typeof newRecords>[]) =>
      dynamodb.transactWriteItems({ TransactItems, ClientRequestToken: String(token++) }),
    recordsOf: (ids: readonly string[], times = kept) =>
      newRecords(
        ledgerTable,
        ids.map((id) => ({ key: dedupKeyOf(id, 0), items: 1 })),
        times,
      ),
  };
}

describe('the dedup record of a chunk', () => {
  it('is a row of its own, except for batches whose message carried their body', () => {
    const make = makeId();
    const [plain, carried] = [make(now), make(now, 3)];
    const earlier = earlierCarriedId(plain, 3);
    expect(dedupKeyOf(plain, 0)).toEqual(chunkKey(plain, 0));
    expect(dedupKeyOf(earlier, 0)).toEqual(chunkKey(earlier, 0));
    expect(dedupKeyOf(carried, 1)).toEqual(chunkKey(carried, 1));
    expect(dedupKeyOf(carried, 0)).toEqual({
      id: `block:${carried.slice(0, 8)}-${carried.slice(-12)}`,
      entry: 'counted',
      number: expect.any(Number) as number,
    });
  });
});

describe('a dedup block', () => {
  it('has the records of its batches, and whether they are dropped', () => {
    const { ledger, write, recordsOf } = openLedger();
    const ids = idsOfBlock(blockIdsMax);
    const [first = '', second = '', third = '', ...others] = ids;
    const stateOf = (id: string) => dedupStateIn(ledger.get(rowKey(first)), dedupKeyOf(id, 0));
    expect(stateOf(first)).toBeUndefined();
    write(recordsOf([first, ...others]));
    write(droppedRecord(ledgerTable, dedupKeyOf(second, 0), { droppedAt: now, reason: 'x' }));
    expect([first, second, third].map(stateOf)).toEqual(['counted', 'dropped', undefined]);
    const row = ledger.get(rowKey(first)) ?? expect.fail();
    expect(batchesInBlock(row)).toHaveLength(blockIdsMax - 1);
    const rows = ledgerRowsOf(row);
    expect(rows).toHaveLength(blockIdsMax - 1);
    expect(rows).toContainEqual({ kind: 'dedup_record', batchId: first, index: 0, items: 1 });
    expect(rows).toContainEqual({ kind: 'dropped_chunk', batchId: second, index: 0 });
    expect(chunkRowOf(row, { batchId: third, index: 0 })).toBeUndefined();
    for (const batchId of [first, second]) {
      expect(rows).toContainEqual(chunkRowOf(row, { batchId, index: 0 }));
    }
  });

  it('takes several records together, or none, and names those that it has', () => {
    const { ledger, write, recordsOf } = openLedger();
    const [a = '', b = '', c = ''] = idsOfBlock(3);
    write(recordsOf([a]));
    const refusal = () => write(recordsOf([a, b, c]));
    expect(refusal).toThrow(/ConditionalCheckFailed/);
    expect(ledger.get(rowKey(a))?.['numbers']?.NS).toHaveLength(1);
    try {
      refusal();
    } catch (error) {
      const [{ Item } = {}] = (error as { CancellationReasons: { Item?: object }[] })
        .CancellationReasons;
      const has = (id: string) => dedupStateIn(Item as Row, dedupKeyOf(id, 0)) !== undefined;
      expect([a, b, c].map(has)).toEqual([true, false, false]);
    }
    write(recordsOf([b, c]));
    expect(ledger.get(rowKey(a))?.['numbers']?.NS).toHaveLength(3);
  });

  it('lives as long as its latest record, and forever once one of its batches is dropped', () => {
    const { ledger, write, recordsOf } = openLedger();
    const [a = '', b = '', c = '', d = ''] = idsOfBlock(4);
    const days = () => {
      const seconds = Number(ledger.get(rowKey(a))?.['expires_at']?.N);
      return (seconds * 1_000 - now) / dayMs;
    };
    write(recordsOf([a]));
    expect(days()).toBe(90);
    write(recordsOf([b], { ...kept, now: now + 9 * dayMs }));
    expect(days()).toBe(99);
    write(droppedRecord(ledgerTable, dedupKeyOf(c, 0), { droppedAt: now, reason: 'x' }));
    expect(days()).toBeGreaterThan(1e6);
    write(recordsOf([d], { ...kept, now: now + 10 * dayMs }));
    expect(days()).toBeGreaterThan(1e6);
  });

  it('drops no batch that is counted, and gives up no record of one that is dropped', () => {
    const { write, recordsOf } = openLedger();
    const [a = '', b = ''] = idsOfBlock(2);
    const drop = (id: string) =>
      write(droppedRecord(ledgerTable, dedupKeyOf(id, 0), { droppedAt: now, reason: 'x' }));
    const remove = (id: string) => {
      const { number = NaN, ...key } = dedupKeyOf(id, 0);
      return write(removedFromBlock(ledgerTable, key, number));
    };
    write(recordsOf([a]));
    expect(() => drop(a)).toThrow(/ConditionalCheckFailed/);
    drop(b);
    expect(() => write(recordsOf([b]))).toThrow(/ConditionalCheckFailed/);
    expect(() => remove(b)).toThrow(/ConditionalCheckFailed/);
    remove(a);
    expect(() => remove(a)).toThrow(/ConditionalCheckFailed/);
    write(recordsOf([a]));
  });

  it('takes one write unit when it is full, and its condition is within the limits of DynamoDB', () => {
    const { ledger, write, recordsOf } = openLedger();
    const ids = idsOfBlock(blockIdsMax);
    const request = recordsOf(ids);
    write(request);
    const row = ledger.get(rowKey(ids[0] ?? '')) ?? expect.fail();
    // As if each member took a byte more, which the developer guide does not say.
    expect(itemBytes(row) + blockIdsMax).toBeLessThan(1_024);
    const condition = request.Update?.ConditionExpression ?? '';
    expect(condition.length).toBeLessThan(4_096);
    expect(condition.match(/contains|OR|NOT/g)?.length).toBeLessThanOrEqual(300);
  });
});

type Row = Record<string, AttributeValue>;

function rowKey(id: string): Row {
  const { id: partition, entry } = dedupKeyOf(id, 0);
  return { id: { S: partition }, entry: { S: entry } };
}
