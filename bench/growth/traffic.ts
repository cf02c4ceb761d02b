/**
 * The counters that traffic is drawn from, or that a store is filled with: the same number on each day.
 */
export interface CounterSpace {
  readonly firstDay: string;
  readonly days: number;
  readonly countersPerDay: number;
}

export interface CounterName {
  readonly date: string;
  readonly type: string;
  readonly state: string;
}

const dayMs = 86_400_000;

/** The counters of a space by their number, in the order of the table: by date, type and state. */
export function counterAt(space: CounterSpace, index: number): CounterName {
  const { firstDay, countersPerDay } = space;
  const day = Math.floor(index / countersPerDay);
  const within = index % countersPerDay;
  const states = statesOf(countersPerDay);
  return {
    date: new Date(Date.parse(firstDay) + day * dayMs).toISOString().slice(0, 10),
    type: `type-${padded(Math.floor(within / states))}`,
    state: `state-${padded(within % states)}`,
  };
}

export function countersOf({ days, countersPerDay }: CounterSpace): number {
  return days * countersPerDay;
}

/** As many states as types, or a tenth of that. */
function statesOf(counters: number): number {
  return 10 ** Math.floor(Math.log10(Math.max(counters, 1)) / 2);
}

function padded(index: number): string {
  return String(index).padStart(6, '0');
}

/**
 * Bodies that together contain every counter of the space equally often (up to `bodiesMax`), with
 * neighbours far apart, so that counters do not cluster in one batch or second.
 */
export function bodiesOver(
  space: CounterSpace,
  itemsPerBody: number,
  bodiesMax = 10_000,
): string[] {
  const counters = countersOf(space);
  const stride = coprimeStride(counters);
  const bodies = Math.min(bodiesMax, Math.max(64, Math.ceil(counters / itemsPerBody)));
  let place = 0;
  return Array.from({ length: bodies }, () => {
    const items = Array.from({ length: itemsPerBody }, () => {
      place = (place + stride) % counters;
      const { date, type, state } = counterAt(space, place);
      return { type, state, timestamp: `${date}T13:00:00Z` };
    });
    return JSON.stringify({ processed_devices: items });
  });
}

/**
 * A stride of about 0.618 of the number, coprime to it, so that each round visits every counter once.
 */
function coprimeStride(counters: number): number {
  let stride = Math.max(1, Math.round(counters * 0.618));
  while (greatestCommonDivisor(stride, counters) !== 1) stride++;
  return stride;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
