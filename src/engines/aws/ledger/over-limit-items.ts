import { deflateRawSync, inflateRawSync } from 'node:zlib';

import { fromRanges, toRanges, type Ranges } from '../../../domain/index-ranges.ts';

/** More items than any body of 4 MiB can have. */
const itemsMax = 4 * 1024 * 1024;

/**
 * Encodes the indexes as compressed bits: at most 300 KB for a body of 4 MiB, so that they fit into a
 * row of DynamoDB (400 KB).
 */
export function encodeOverLimitItems(excluded: readonly number[]): Uint8Array {
  const bits = Buffer.alloc(((excluded.at(-1) ?? 0) >> 3) + 1);
  for (const index of excluded) bits[index >> 3] = (bits[index >> 3] ?? 0) | (1 << (index & 7));
  return deflateRawSync(bits);
}

/** Reads what `encodeOverLimitItems` wrote. */
export function decodeOverLimitItems(bytes: Uint8Array): number[] {
  const bits = inflateRawSync(bytes, { maxOutputLength: itemsMax });
  const excluded: number[] = [];
  for (const [at, byte] of bits.entries()) {
    for (let bit = 0; byte >> bit > 0; bit++) if (byte & (1 << bit)) excluded.push(at * 8 + bit);
  }
  return excluded;
}

interface OverLimitDocument {
  readonly version: 1;
  readonly excluded: Ranges;
}

/** The object beside a raw body: ranges of indexes in JSON, so that other programs can read it. */
export function overLimitDocument(excluded: readonly number[]): string {
  return JSON.stringify({ version: 1, excluded: toRanges(excluded) } satisfies OverLimitDocument);
}

/** Reads what `overLimitDocument` wrote. @throws for anything else. */
export function readOverLimitDocument(text: string): number[] {
  const { version, excluded } = JSON.parse(text) as Partial<OverLimitDocument>;
  if (version === 1 && Array.isArray(excluded)) return fromRanges(excluded as Ranges);
  throw new Error('it is not {"version":1,"excluded":[[first,last],…]}');
}
