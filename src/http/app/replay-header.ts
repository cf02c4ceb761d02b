import { readRawKey } from '../../domain/batch-id.ts';
import { fromRanges, toRanges } from '../../domain/index-ranges.ts';
import type { ReplayOrigin } from '../../pipeline/ports.ts';

/**
 * The header of a batch that another installation has taken in: JSON in ASCII,
 * `{"raw_key","accepted","rejected"}`, and where there is anything to say `"excluded"` (pairs of
 * the first and last index of items that are valid and were refused), `"caller"` (whose
 * idempotency keys they are) and `"log_id"`.
 */
export const replayHeader = 'replay-of';

/** API Gateway takes 10,240 bytes of headers in all. */
export const replayHeaderBytesMax = 8_000;

const countMax = 2 ** 31;

export interface ReplayHeader {
  readonly replayOf: ReplayOrigin;
  readonly caller: string;
}

/** What the header says; undefined where it is not sound. */
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

/** Writes what `readReplayHeader` reads; undefined where it were too long. */
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

/** More items no body has that a server takes by default. */
const excludedMax = 1_000_000;

/** The indexes, ascending; undefined where the pairs are none, or not in order. */
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
