import { createHash } from 'node:crypto';

import { daysInRange } from '../domain/timestamp.ts';
import type { CounterQuery, CounterReader } from './ports.ts';
import { dimensions, StatsText, type Dimension, type StatsFormat } from './stats-text.ts';

/** What `/stats` is asked for. */
export interface StatsRequest {
  readonly query: CounterQuery;
  /** In the order of `dimensions`; undefined: every counter by itself. */
  readonly groupBy: readonly Dimension[] | undefined;
  readonly format: StatsFormat;
  /** Whether CSV begins with a byte order mark. */
  readonly hasMark?: boolean;
}

/** Whether rows have to be added up for it, all of them before the first can be told. */
export function isSummed({ groupBy }: StatsRequest): boolean {
  return groupBy !== undefined && groupBy.length < dimensions.length;
}

/** Questions of no more days wait for none that look at more. */
const fewDaysMax = 7;

export function isOfManyDays({ query: { from, to } }: StatsRequest): boolean {
  return daysInRange(from, to) > fewDaysMax;
}

/** The versions of an answer that the caller has; `any`: whichever there is will do. */
export type KnownVersions = readonly string[] | 'any';

/**
 * An answer as text in UTF-8. `version` names its content: as long as it is the same, so is the
 * answer to the same request.
 */
export type StatsAnswer =
  /** The caller has it. */
  | { readonly kind: 'unchanged'; readonly version: string | undefined }
  | { readonly kind: 'whole'; readonly version: string; readonly bytes: Uint8Array<ArrayBuffer> }
  | {
      readonly kind: 'stream';
      readonly version: string | undefined;
      /** Made as they are taken. Whoever does not want all calls `return`. Fails where rows do. */
      readonly pieces: AsyncIterableIterator<Uint8Array<ArrayBuffer>>;
    }
  /** It would be larger than can be answered. */
  | { readonly kind: 'too_large' };

/** Of the content alone: the same for any engine, before and after a restart or a rebuild. */
export function versionOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('base64url').slice(0, 22);
}

export function isKnown(known: KnownVersions, version: string | undefined): boolean {
  return known === 'any' || (version !== undefined && known.includes(version));
}

/** The whole answer, or the word that the caller has it. */
export function wholeAnswer(
  bytes: Uint8Array<ArrayBuffer>,
  known: KnownVersions,
): Extract<StatsAnswer, { kind: 'whole' | 'unchanged' }> {
  const version = versionOf(bytes);
  if (isKnown(known, version)) return { kind: 'unchanged', version };
  return { kind: 'whole', version, bytes };
}

/** Gathers an answer in memory, where it is not more than `bytesMax`. */
export async function gatherStats(
  reader: CounterReader,
  { query, groupBy, format, hasMark }: StatsRequest,
  known: KnownVersions,
  bytesMax: number,
): Promise<StatsAnswer> {
  const stats = new StatsText(groupBy, format, hasMark);
  const isWhole = await reader.query(query, (rows) => {
    stats.add(rows);
    return stats.length <= bytesMax;
  });
  if (!isWhole) return { kind: 'too_large' };
  const bytes = new TextEncoder().encode(stats.text());
  return bytes.length > bytesMax ? { kind: 'too_large' } : wholeAnswer(bytes, known);
}
