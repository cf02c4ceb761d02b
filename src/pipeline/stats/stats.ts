import { createHash } from 'node:crypto';

import { daysInRange } from '../../domain/timestamp.ts';
import type { CounterQuery, CounterReader } from '../ports.ts';
import { dimensions, type Dimension, type StatsFormat } from './formats.ts';
import { Groups, StatsWriter } from './text.ts';

/** A request to `/stats`. */
export interface StatsRequest {
  readonly query: CounterQuery;
  /** In the order of `dimensions`; undefined: one row per counter. */
  readonly groupBy: readonly Dimension[] | undefined;
  readonly format: StatsFormat;
  /** Whether CSV begins with a byte order mark. */
  readonly hasByteOrderMark?: boolean;
}

/** Whether the response sums rows, so that it needs all of them before its first row. */
export function isSummed({ groupBy }: StatsRequest): boolean {
  return groupBy !== undefined && groupBy.length < dimensions.length;
}

/** Queries of at most this many days do not wait for longer ones. */
const fewDaysMax = 7;

export function isOfManyDays({ query: { from, to } }: StatsRequest): boolean {
  return daysInRange(from, to) > fewDaysMax;
}

/** The versions of a response that the caller has, from `If-None-Match`; `any`: `*`. */
export type KnownVersions = readonly string[] | 'any';

/**
 * A response as text in UTF-8. `version` identifies its content: the same request with the same version
 * has the same response.
 */
export type StatsAnswer =
  /** The caller has this version. */
  | { readonly kind: 'unchanged'; readonly version: string | undefined }
  | { readonly kind: 'whole'; readonly version: string; readonly bytes: Uint8Array<ArrayBuffer> }
  | {
      readonly kind: 'stream';
      readonly version: string | undefined;
      /** Produced on demand. Call `return` to stop early. `next` rejects if reading rows fails. */
      readonly pieces: AsyncIterableIterator<Uint8Array<ArrayBuffer>>;
    }
  /** The response exceeds the size limit. */
  | { readonly kind: 'too_large' };

/** A hash of the content: the same for any engine, before and after a restart or a rebuild. */
function versionOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('base64url').slice(0, 22);
}

export function isKnown(known: KnownVersions, version: string | undefined): boolean {
  return known === 'any' || (version !== undefined && known.includes(version));
}

/** The whole response, or `unchanged` if the caller has its version. */
export function wholeAnswer(
  bytes: Uint8Array<ArrayBuffer>,
  known: KnownVersions,
): Extract<StatsAnswer, { kind: 'whole' | 'unchanged' }> {
  const version = versionOf(bytes);
  if (isKnown(known, version)) return { kind: 'unchanged', version };
  return { kind: 'whole', version, bytes };
}

/** Builds a response of at most `bytesMax` bytes in memory. */
export async function gatherStats(
  reader: CounterReader,
  { query, groupBy, format, hasByteOrderMark }: StatsRequest,
  known: KnownVersions,
  bytesMax: number,
): Promise<StatsAnswer> {
  const writer = new StatsWriter(groupBy, format, hasByteOrderMark);
  const groups = groupBy && new Groups(groupBy);
  let text = writer.opening();
  // UTF-16 code units; with groups, a lower bound.
  let length = 0;
  const isWhole = await reader.query(query, (rows) => {
    if (groups === undefined) text += writer.piece(rows);
    length = groups === undefined ? text.length : length + groups.add(rows);
    return length <= bytesMax;
  });
  if (!isWhole) return { kind: 'too_large' };
  if (groups !== undefined) text += writer.piece(groups.rows());
  const bytes = new TextEncoder().encode(text + writer.closing());
  return bytes.length > bytesMax ? { kind: 'too_large' } : wholeAnswer(bytes, known);
}
