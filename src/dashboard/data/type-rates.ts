import type { PairRow } from './counts.ts';

/** The failures of a type. */
interface TypeRate {
  readonly type: string;
  readonly failed: number;
  readonly events: number;
  readonly rate: number;
  /** The rate of the days before; undefined if there were no events, or the days are not known. */
  readonly before: number | undefined;
}

/** With fewer events, a single failure results in a high rate. */
export const eventsMin = 30;

/** The types by failure rate, highest first; those with too few events for a rate come last. */
export function typeRates(
  pairs: readonly PairRow[],
  before: readonly PairRow[] | undefined,
  isFailing: (state: string) => boolean,
): TypeRate[] {
  const earlier = totals(before ?? [], isFailing);
  return [...totals(pairs, isFailing)]
    .map(([type, { failed, events }]) => {
      const then = earlier.get(type);
      return {
        ...{ type, failed, events, rate: failed / events },
        before: then && then.failed / then.events,
      };
    })
    .sort(
      (a, b) =>
        Number(a.events < eventsMin) - Number(b.events < eventsMin) ||
        b.rate - a.rate ||
        b.events - a.events ||
        (a.type < b.type ? -1 : 1),
    );
}

function totals(pairs: readonly PairRow[], isFailing: (state: string) => boolean) {
  const sums = new Map<string, { failed: number; events: number }>();
  for (const { type, state, count } of pairs) {
    const sum = sums.get(type) ?? { failed: 0, events: 0 };
    sums.set(type, sum);
    sum.events += count;
    if (isFailing(state)) sum.failed += count;
  }
  return sums;
}
