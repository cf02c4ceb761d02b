import { mergeTally, rowsOfTally, type Tally } from '../../../domain/counter.ts';
import type { Delivery } from '../../../pipeline/ports.ts';

/** DynamoDB's limit of one TransactWriteItems. */
export const transactionWritesMax = 100;

/**
 * Puts deliveries together, in order, so that each group's marks and distinct counters are at most
 * the writes of one transaction: the more share their counters, the less each costs.
 */
export function groupDeliveries<D extends Delivery<unknown>>(deliveries: readonly D[]): D[][] {
  const groups: { deliveries: D[]; tally: Tally; counters: number }[] = [];
  for (const delivery of deliveries) {
    const open = groups.at(-1);
    const more = open === undefined ? 0 : countersAdded(open.tally, delivery.tally);
    const hasRoom =
      open !== undefined &&
      open.deliveries.length + 1 + open.counters + more <= transactionWritesMax;
    if (hasRoom) {
      open.deliveries.push(delivery);
      open.counters += mergeTally(open.tally, delivery.tally);
    } else {
      const tally: Tally = new Map();
      groups.push({ deliveries: [delivery], tally, counters: mergeTally(tally, delivery.tally) });
    }
  }
  return groups.map((group) => group.deliveries);
}

/** The increments of all of them, by counter. */
export function sumOf(deliveries: readonly Delivery<unknown>[]): Tally {
  const sum: Tally = new Map();
  for (const { tally } of deliveries) mergeTally(sum, tally);
  return sum;
}

function countersAdded(tally: Tally, more: Tally): number {
  let added = 0;
  for (const { date, type, state } of rowsOfTally(more)) {
    if (tally.get(date)?.get(type)?.get(state) === undefined) added++;
  }
  return added;
}
