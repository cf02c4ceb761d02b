import { readRawKey } from '../../domain/batch-id.ts';
import { fromRanges, toRanges } from '../../domain/index-ranges.ts';
import type { ReplayOrigin } from '../../pipeline/ports.ts';

/**
 * The header of a replayed batch: ASCII JSON with `"raw_key"`, `"accepted"` and `"rejected"`, and
 * optionally `"excluded"` (the over-limit items, as pairs of first and last index), `"caller"` (the
 * owner of the idempotency key) and `"log_id"`.
 */
export const replayHeader = 'replay-of';

/** API Gateway accepts 10,240 bytes of headers in total. */
export const replayHeaderBytesMax = 8_000;

const countMax = 2 ** 31;

interface ReplayHeader {
  readonly replayOf: ReplayOrigin;
  readonly caller: string;
}

/** Reads the header; undefined if it is invalid. */
export function readReplayHeader(text: string): ReplayHeader | undefined {
  if (text.length > replayHeaderBytesMax) return undefined;
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return undefined;
  }
  const {
    raw_key,
    accepted,
    rejected,
    excluded,
    caller = '',
    log_id,
  } = Object(document) as Record<string, unknown>;
  const identity = typeof raw_key === 'string' ? readRawKey(raw_key) : undefined;
  const indexes = excluded === undefined ? [] : readRanges(excluded);
  if (identity === undefined || indexes === undefined) return undefined;
  if (!isCount(accepted) || !isCount(rejected) || rejected < indexes.length) return undefined;
  const isCaller = typeof caller === 'string' && Buffer.byteLength(caller) <= 255;
  const isLogId =
    log_id === undefined || (typeof log_id === 'string' && /^[0-9a-f]{32}$/.test(log_id));
  if (!isCaller || !isLogId) return undefined;
  return {
    caller,
    replayOf: {
      ...identity,
      accepted,
      rejected,
      ...(indexes.length > 0 && { excluded: indexes }),
      ...(log_id !== undefined && { logId: log_id }),
    },
  };
}

/** Writes the header; undefined if it would be too long. */
export function writeReplayHeader(
  rawKey: string,
  { replayOf, caller }: ReplayHeader,
): string | undefined {
  const { accepted, rejected, excluded, logId } = replayOf;
  const text = JSON.stringify({
    ...{ raw_key: rawKey, accepted, rejected },
    ...(excluded !== undefined && { excluded: toRanges(excluded) }),
    ...(caller !== '' && { caller }),
    ...(logId !== undefined && { log_id: logId }),
  }).replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return text.length > replayHeaderBytesMax ? undefined : text;
}

/** More than the items of the largest default body. */
const excludedMax = 1_000_000;

/** The indexes in ascending order; undefined if the pairs are invalid or not in order. */
function readRanges(value: unknown): readonly number[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const ranges: [number, number][] = [];
  let before = -1;
  let sum = 0;
  for (const pair of value as unknown[]) {
    const [first, last] = Array.isArray(pair) ? (pair as unknown[]) : [];
    if (!isCount(first) || !isCount(last) || first <= before || last < first) return undefined;
    ranges.push([first, last]);
    before = last;
    sum += last - first + 1;
  }
  return sum > excludedMax ? undefined : fromRanges(ranges);
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < countMax;
}
