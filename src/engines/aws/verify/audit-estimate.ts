import { priceTable } from '../price-table.ts';
import type { Survey } from './audit-rules.ts';

/** What a proof is going to ask of AWS, about. */
export interface Estimate {
  readonly objects: number;
  readonly bytes: number;
  readonly s3Lists: number;
  readonly s3Gets: number;
  readonly dynamodbReadUnits: number;
  readonly dollars: number;
  /** Of the prices. */
  readonly prices: { readonly region: string; readonly date: string };
}

const keysOfList = 1_000;
/** A consistent read of so many bytes takes one unit. */
const bytesOfUnit = 4_096;

/**
 * Lists, gets and read units of a proof; `isWhole`: of the whole store, else a query for each batch.
 * What counters that differ take besides is not known before.
 */
export function estimate(
  { unread, objects, counters, ledger }: Survey,
  isWhole: boolean,
): Estimate {
  const s3Lists = Math.ceil(objects / keysOfList) + 1;
  const s3Gets = unread.objects;
  const scanned = Math.ceil(counters.bytes / bytesOfUnit) + Math.ceil(ledger.bytes / bytesOfUnit);
  const dynamodbReadUnits = isWhole ? scanned : objects;
  const { units, region, date } = priceTable;
  const dollars =
    s3Lists * units.s3WriteRequest +
    s3Gets * units.s3ReadRequest +
    dynamodbReadUnits * units.dynamodbReadUnit;
  return { ...unread, s3Lists, s3Gets, dynamodbReadUnits, dollars, prices: { region, date } };
}
