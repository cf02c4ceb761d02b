import type { LogPosition } from '../../log/frame.ts';
import { logEndOf } from '../../store/raw-batches.ts';
import { decodeTail, nameOf, type Claim } from '../archive-objects.ts';
import { readUpToDamage, type ArchiveContent } from '../read-archive.ts';
import type { ObjectStore } from '../stores/object-store.ts';

/** The state of one log in an archive. */
export interface LogStatus {
  readonly logId: string;
  readonly begin: LogPosition;
  readonly end: LogPosition;
  /** Bytes of all its objects, as stored. */
  readonly storedBytes: number;
  /** Merged segments, the last of which may be the beginning of one. */
  readonly segments: number;
  /** Pieces that are not merged yet. */
  readonly pieces: number;
  /** When the first server claimed the archive; RFC 3339. */
  readonly since: string | undefined;
  /** When the last piece was cut, in milliseconds since 1970; undefined for an empty log. */
  readonly archivedAt: number | undefined;
  /** The claim of the server that ships to it. */
  readonly claim: Claim | undefined;
  /** What is missing or damaged; this status then covers only the log before it. */
  readonly damage: string | undefined;
}

export async function statusOfLog(store: ObjectStore, logId: string): Promise<LogStatus> {
  const content = await readUpToDamage(store, logId);
  const { begin, end, segments, pieces, claim } = content;
  const first = await firstClaim(store, logId);
  return {
    ...{ logId, begin, end, claim, storedBytes: await storedBytesOf(store, logId) },
    ...{ segments: segments.length, pieces: pieces.length, archivedAt: lastCut(content) },
    ...{ since: first?.claimed_at, damage: content.damage?.message },
  };
}

/** The claim; undefined if it cannot be read. */
async function firstClaim(store: ObjectStore, logId: string): Promise<Claim | undefined> {
  const object = await store.get(nameOf('tail', logId, 0));
  try {
    const found = object && decodeTail(object);
    return found?.kind === 'claim' ? found : undefined;
  } catch {
    return undefined;
  }
}

/** How many bytes of its log a data directory has that the archive does not hold yet. */
export function bytesAhead(dataDir: string, { end }: Pick<LogStatus, 'end'>): number {
  return Math.max(0, logEndOf(dataDir) - end);
}

function lastCut({ pieces, segments }: ArchiveContent): number | undefined {
  return pieces.at(-1)?.at ?? segments.at(-1)?.at;
}

async function storedBytesOf(store: ObjectStore, logId: string): Promise<number> {
  let sum = 0;
  for await (const { bytes } of store.list(`${logId}/`)) sum += bytes;
  return sum;
}
