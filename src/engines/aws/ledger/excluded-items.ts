import { deflateRawSync, inflateRawSync } from 'node:zlib';

import { fromRanges, toRanges, type Ranges } from '../../../domain/index-ranges.ts';

/** A body of 4 MiB has no more items than this, be they as short as can be. */
const itemsMax = 4 * 1024 * 1024;

/**
 * Indexes as bits, compressed: in a row of DynamoDB, which may have 400 KB. Of a body of 4 MiB, be
 * the indexes as they may, it is less than 300 KB.
 */
export function encodeOverLimitItems(excluded: readonly number[]): Uint8Array {
  const bits = Buffer.alloc(((excluded.at(-1) ?? 0) >> 3) + 1);
  for (const index of excluded) bits[index >> 3] = (bits[index >> 3] ?? 0) | (1 << (index & 7));
  return deflateRawSync(bits);
}

/** Reads what `encodeExcluded` wrote. */
export function decodeOverLimitItems(bytes: Uint8Array): number[] {
  const bits = inflateRawSync(bytes, { maxOutputLength: itemsMax });
  const excluded: number[] = [];
  for (const [at, byte] of bits.entries()) {
    for (let bit = 0; byte >> bit > 0; bit++) if (byte & (1 << bit)) excluded.push(at * 8 + bit);
  }
  return excluded;
}

interface ExcludedDocument {
  readonly version: 1;
  readonly excluded: Ranges;
}

/** The object beside a raw body: runs of indexes, that a stranger can read. */
export function overLimitDocument(excluded: readonly number[]): string {
  return JSON.stringify({ version: 1, excluded: toRanges(excluded) } satisfies ExcludedDocument);
}

/** Reads what `excludedDocument` wrote. @throws where it is anything else. */
export function readOverLimitDocument(text: string): number[] {
  const { version, excluded } = JSON.parse(text) as Partial<ExcludedDocument>;
  if (version === 1 && Array.isArray(excluded)) return fromRanges(excluded as Ranges);
  throw new Error('it is not {"version":1,"excluded":[[first,last],…]}');
}
