import type { LogRecord } from './log-frame.ts';

type Extension = Pick<LogRecord, 'excluded' | 'originId'>;

/** Runs of indexes as pairs of their first and last, both counted. */
type Ranges = readonly (readonly [first: number, last: number])[];

interface Document {
  readonly origin_id?: string;
  readonly excluded?: Ranges;
}

/** What few records have, as JSON: undefined where a record has nothing of it. */
export function encodeExtension({ excluded, originId }: Extension): Buffer | undefined {
  if (excluded === undefined && originId === undefined) return undefined;
  const document: Document = {
    ...(originId !== undefined && { origin_id: originId }),
    ...(excluded !== undefined && { excluded: toRanges(excluded) }),
  };
  return Buffer.from(JSON.stringify(document), 'latin1');
}

/** Reads what `encodeExtension` wrote; a checksum has told that it is whole. */
export function readExtension(text: string): Extension {
  const { origin_id: originId, excluded } = JSON.parse(text) as Document;
  return {
    ...(originId !== undefined && { originId }),
    ...(excluded !== undefined && { excluded: fromRanges(excluded) }),
  };
}

/** Indexes in ascending order, as runs: those that are refused stand together more often than not. */
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
