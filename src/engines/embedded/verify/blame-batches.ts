import { rowsOfIncrements, typeStateKey, type CounterRow } from '../../../domain/counter.ts';
import { dayRule } from '../../../domain/day.ts';
import type { Difference } from '../../../pipeline/findings.ts';
import { recount } from '../../../pipeline/recount.ts';
import type { ScannedEntry } from '../log/scan-log.ts';
import { rawKeyOfRecord } from '../log/record-identity.ts';

const namedMax = 5;

interface DifferingCounter {
  readonly difference: Difference;
  /** The counter's value minus the recounted one. */
  readonly excess: number;
  readonly rawKeys: string[];
  readonly explainedBy: string[];
}

/**
 * Names the batches that add to differing counters, and the batches that explain a difference: all
 * of a batch's counters are too low by at least its increments, as if it had not been counted, or
 * too high by them, as if it had been counted twice.
 */
export function blameBatches(
  differences: readonly Difference[],
  records: Iterable<ScannedEntry>,
  dayZone: string,
): Difference[] {
  const differing = new Map<string, DifferingCounter>();
  for (const difference of differences) {
    const { counter, counted = 0, recounted = 0 } = difference;
    if (counter === undefined) continue;
    const excess = counted - recounted;
    differing.set(keyOf(counter), { difference, excess, rawKeys: [], explainedBy: [] });
  }
  const dayOf = dayRule(dayZone);
  for (const found of records) {
    if (found.damage !== undefined) continue;
    const counted = recount(found.record, dayOf);
    if (counted.reason !== undefined) continue;
    const rows = [...rowsOfIncrements(counted.increments)];
    const touched = rows.flatMap((row) => differing.get(keyOf(row)) ?? []);
    if (touched.length === 0) continue;
    const rawKey = rawKeyOfRecord(found.record);
    for (const { rawKeys } of touched) if (rawKeys.length < namedMax) rawKeys.push(rawKey);
    if (!explains(rows, differing)) continue;
    for (const { explainedBy } of touched) {
      if (explainedBy.length < namedMax) explainedBy.push(rawKey);
    }
  }
  return [...differing.values()].map(({ difference, rawKeys, explainedBy }) => ({
    ...difference,
    rawKeys,
    explainedBy,
  }));
}

function explains(
  rows: readonly CounterRow[],
  differing: ReadonlyMap<string, DifferingCounter>,
): boolean {
  const excesses = rows.map((row) => ({
    count: row.count,
    excess: differing.get(keyOf(row))?.excess ?? 0,
  }));
  return (
    excesses.every(({ count, excess }) => -excess >= count) ||
    excesses.every(({ count, excess }) => excess >= count)
  );
}

function keyOf({ date, type, state }: Omit<CounterRow, 'count'>): string {
  return `${date} ${typeStateKey(type, state)}`;
}
