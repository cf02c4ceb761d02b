import type { AttributeValue } from '@aws-sdk/client-dynamodb';

import { itemBytes } from './dynamodb-units.ts';
import type { Usage, UsageLine } from './usage.ts';

/** The storage that DynamoDB bills for each row besides its attributes. */
const rowOverheadBytes = 100;

/** The billed size of a table with these rows. */
export function tableBytes(rows: readonly Readonly<Record<string, AttributeValue>>[]): number {
  return rows.reduce((sum, row) => {
    const sized = Object.entries(row).map(([name, value]) => [name, asOnTheWire(value)] as const);
    return sum + itemBytes(Object.fromEntries(sized)) + rowOverheadBytes;
  }, 0);
}

function asOnTheWire(value: AttributeValue) {
  return value.B === undefined ? value : { B: Buffer.from(value.B).toString('base64') };
}

/**
 * Adds the storage of the ledger's rows for the days that they are kept, their point-in-time recovery,
 * and the storage of the raw bodies for a month; they are kept forever.
 */
export function addStorage(
  besides: Usage,
  { ledgerBytes, rawBytes, keepDays }: { ledgerBytes: number; rawBytes: number; keepDays: number },
): void {
  const ledgerGbMonths = (ledgerBytes / 1e9) * (keepDays / 30);
  const rows = `ledger rows, ${keepDays} days`;
  besides.add('Storage', rows, 'dynamodbGbMonth', ledgerGbMonths);
  besides.add('Storage', `${rows}, recovery`, 'dynamodbRecoveryGbMonth', ledgerGbMonths);
  besides.add('Storage', 'raw bodies, a month', 's3GbMonth', rawBytes / 1e9);
}

/** Adds the traces of each function that ran. Each function is sampled separately. */
export function addTraces(besides: Usage, usage: readonly UsageLine[], seconds: number): void {
  for (const { what, price, units } of usage) {
    if (price !== 'lambdaRequest') continue;
    const traces = tracesOf(units, seconds);
    besides.add('Traces', what.replace('requests', 'traces'), 'xrayTrace', traces);
  }
}

/** Lambda samples one invocation per second and 5 % of the others; this cannot be configured. */
export function tracesOf(invocations: number, seconds: number): number {
  const first = Math.min(invocations, seconds);
  return first + (invocations - first) * 0.05;
}
