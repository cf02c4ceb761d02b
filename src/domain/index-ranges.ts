/** Ranges of indexes, inclusive. */
export type Ranges = readonly (readonly [first: number, last: number])[];

/** Compresses ascending indexes to ranges: over-limit items are often adjacent. */
export function toRanges(indexes: readonly number[]): Ranges {
  const ranges: [number, number][] = [];
  for (const index of indexes) {
    const open = ranges.at(-1);
    if (open !== undefined && open[1] + 1 === index) open[1] = index;
    else ranges.push([index, index]);
  }
  return ranges;
}

export function fromRanges(ranges: Ranges): number[] {
  return ranges.flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, offset) => first + offset),
  );
}
