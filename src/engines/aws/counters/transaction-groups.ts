import { mergeIncrements, rowsOfIncrements, type Increments } from '../../../domain/counter.ts';
import type { Delivery } from '../../../pipeline/ports.ts';
import { transactionWritesMax } from '../ledger/transact.ts';

/**
 * Groups deliveries, in order, so that the dedup records and distinct counters of each group fit into
 * one transaction. Deliveries that share counters share their cost.
 */
export function groupDeliveries<D extends Delivery<unknown>>(deliveries: readonly D[]): D[][] {
  const groups: { deliveries: D[]; sum: Increments; counters: number }[] = [];
  for (const delivery of deliveries) {
    const open = groups.at(-1);
    const more = open === undefined ? 0 : newCounters(open.sum, delivery.increments);
    const hasRoom =
      open !== undefined &&
      open.deliveries.length + 1 + open.counters + more <= transactionWritesMax;
    if (hasRoom) {
      open.deliveries.push(delivery);
      open.counters += mergeIncrements(open.sum, delivery.increments);
    } else {
      const sum: Increments = new Map();
      const counters = mergeIncrements(sum, delivery.increments);
      groups.push({ deliveries: [delivery], sum, counters });
    }
  }
  return groups.map((group) => group.deliveries);
}

/** The sum of all their increments. */
export function sumOf(deliveries: readonly Delivery<unknown>[]): Increments {
  const sum: Increments = new Map();
  for (const { increments } of deliveries) mergeIncrements(sum, increments);
  return sum;
}

function newCounters(sum: Increments, more: Increments): number {
  let added = 0;
  for (const { date, type, state } of rowsOfIncrements(more)) {
    if (sum.get(date)?.get(type)?.get(state) === undefined) added++;
  }
  return added;
}
