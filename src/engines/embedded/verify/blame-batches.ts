import { rowsOfIncrements, typeStateKey, type CounterRow } from '../../../domain/counter.ts';
import { dayRule } from '../../../domain/day.ts';
import type { Difference } from '../../../pipeline/audit.ts';
import { recount } from '../../../pipeline/recount.ts';
import type { ScannedEntry } from '../log/scan-log.ts';
import { rawKeyOfRecord } from '../log/record-identity.ts';

const namedMax = 5;

interface DifferingCounter {
  readonly difference: Difference;
  /** How many are counted too many (above 0) or too few. */
  readonly excess: number;
  readonly rawKeys: string[];
  readonly explainedBy: string[];
}

/**
 * Says of which batches the items of differing counters came, and which batches would explain a
 * difference: all of their counters are short by at least what they count, as if they had not been
 * counted; or in excess by it, as if they had been counted twice.
 */
export function blameBatches(
  differences: readonly Difference[],
  records: Iterable<ScannedEntry>,
  dayZone: string,
): Difference[] {
  const suspected = new Map<string, DifferingCounter>();
  for (const difference of differences) {
    const { counter, counted = 0, recounted = 0 } = difference;
    if (counter === undefined) continue;
    const excess = counted - recounted;
    suspected.set(keyOf(counter), { difference, excess, rawKeys: [], explainedBy: [] });
  }
  const dayOf = dayRule(dayZone);
  for (const found of records) {
    if (found.damage !== undefined) continue;
    const counted = recount(found.record, dayOf);
    if (counted.reason !== undefined) continue;
    const rows = [...rowsOfIncrements(counted.tally)];
    const met = rows.flatMap((row) => suspected.get(keyOf(row)) ?? []);
    if (met.length === 0) continue;
    const rawKey = rawKeyOfRecord(found.record);
    for (const { rawKeys } of met) if (rawKeys.length < namedMax) rawKeys.push(rawKey);
    if (!explains(rows, suspected)) continue;
    for (const { explainedBy } of met) {
      if (explainedBy.length < namedMax) explainedBy.push(rawKey);
    }
  }
  return [...suspected.values()].map(({ difference, rawKeys, explainedBy }) => ({
    ...difference,
    rawKeys,
    explainedBy,
  }));
}

function explains(
  rows: readonly CounterRow[],
  suspected: ReadonlyMap<string, DifferingCounter>,
): boolean {
  const excesses = rows.map((row) => ({
    count: row.count,
    excess: suspected.get(keyOf(row))?.excess ?? 0,
  }));
  return (
    excesses.every(({ count, excess }) => -excess >= count) ||
    excesses.every(({ count, excess }) => excess >= count)
  );
}

function keyOf({ date, type, state }: Omit<CounterRow, 'count'>): string {
  return `${date} ${typeStateKey(type, state)}`;
}
