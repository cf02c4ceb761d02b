import { mergeIncrements, rowsOfIncrements, type Increments } from '../../../domain/counter.ts';
import type { Delivery } from '../../../pipeline/ports.ts';

/** DynamoDB's limit of one TransactWriteItems. */
export const transactionWritesMax = 100;

/**
 * Puts deliveries together, in order, so that each group's marks and distinct counters are at most
 * the writes of one transaction: the more share their counters, the less each costs.
 */
export function groupDeliveries<D extends Delivery<unknown>>(deliveries: readonly D[]): D[][] {
  const groups: { deliveries: D[]; tally: Increments; counters: number }[] = [];
  for (const delivery of deliveries) {
    const open = groups.at(-1);
    const more = open === undefined ? 0 : countersAdded(open.tally, delivery.increments);
    const hasRoom =
      open !== undefined &&
      open.deliveries.length + 1 + open.counters + more <= transactionWritesMax;
    if (hasRoom) {
      open.deliveries.push(delivery);
      open.counters += mergeIncrements(open.tally, delivery.increments);
    } else {
      const tally: Increments = new Map();
      groups.push({
        deliveries: [delivery],
        tally,
        counters: mergeIncrements(tally, delivery.increments),
      });
    }
  }
  return groups.map((group) => group.deliveries);
}

/** The increments of all of them, by counter. */
export function sumOf(deliveries: readonly Delivery<unknown>[]): Increments {
  const sum: Increments = new Map();
  for (const { increments: tally } of deliveries) mergeIncrements(sum, tally);
  return sum;
}

function countersAdded(tally: Increments, more: Increments): number {
  let added = 0;
  for (const { date, type, state } of rowsOfIncrements(more)) {
    if (tally.get(date)?.get(type)?.get(state) === undefined) added++;
  }
  return added;
}
