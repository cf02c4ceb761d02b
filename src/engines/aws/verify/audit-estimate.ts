import { priceTable } from '../price-table.ts';
import type { StoreSize } from './audit-rules.ts';

/** The approximate requests of an audit, and their price. */
export interface Estimate {
  readonly objects: number;
  readonly bytes: number;
  readonly s3Lists: number;
  readonly s3Gets: number;
  readonly dynamodbReadUnits: number;
  readonly dollars: number;
  /** The prices used. */
  readonly prices: { readonly region: string; readonly date: string };
}

const keysOfList = 1_000;
/** The bytes of one consistent read unit. */
const bytesOfUnit = 4_096;

/**
 * Estimates an audit of the whole store, or else (`isWhole` is false) one query for each batch. The
 * requests for counters that differ cannot be known before.
 */
export function estimate(
  { unread, objects, counters, ledger }: StoreSize,
  isWhole: boolean,
): Estimate {
  const s3Lists = Math.ceil(objects / keysOfList) + 1;
  const s3Gets = unread.objects;
  const scanned = Math.ceil(counters / bytesOfUnit) + Math.ceil(ledger / bytesOfUnit);
  const dynamodbReadUnits = isWhole ? scanned : objects;
  const { units, region, date } = priceTable;
  const dollars =
    s3Lists * units.s3WriteRequest +
    s3Gets * units.s3ReadRequest +
    dynamodbReadUnits * units.dynamodbReadUnit;
  return { ...unread, s3Lists, s3Gets, dynamodbReadUnits, dollars, prices: { region, date } };
}
