import type { Difference } from '../../../../pipeline/findings.ts';
import { nodeFileSystem, openIfExists } from '../../log/file-system.ts';
import type { LogPosition } from '../../log/frame.ts';
import { listSegments, readFully, segmentAt } from '../../log/segment.ts';
import { logEndOf } from '../../store/raw-batches.ts';
import { openObjectStore } from '../stores/open-object-store.ts';
import { retryingStore } from '../stores/retrying-store.ts';
import type { ArchivedPart, LogBytes } from './archived-records.ts';
import { findArchivedDirectory } from './archived-directory.ts';
import type { ByteObserver } from './check-object.ts';
import { verifyArchive } from './verify-archive.ts';

interface ArchiveComparison {
  readonly findings: readonly Difference[];
  /** The state of the log in the archive. */
  readonly begin: LogPosition;
  readonly end: LogPosition;
  /** Bytes of the log that both have. */
  readonly comparedBytes: number;
  /** Bytes of the log that the archive does not hold yet: no finding, because a server ships them. */
  readonly behindBytes: number;
}

/**
 * Checks the archive of a data directory's log, and compares each byte that both have. May run while
 * the server runs.
 * @throws {ArchiveUnusable} if the archive does not hold this log.
 */
export async function compareWithArchive(
  url: string,
  dataDir: string,
  onProgress: (bytes: number, total: number) => void,
): Promise<ArchiveComparison> {
  const store = retryingStore(await openObjectStore(url));
  try {
    const { paths, logId } = await findArchivedDirectory(store, dataDir);
    const observer = comparisonWith(paths.log);
    const report = await verifyArchive({ store, logId, isCounting: false, observer, onProgress });
    // Read after the archive, and so not before its end.
    const ownEnd = logEndOf(dataDir);
    const ownBegin = listSegments(nodeFileSystem, paths.log)[0]?.base ?? 0;
    const { begin, end, findings } = report;
    const both = Math.min(end, ownEnd) - Math.max(begin, ownBegin);
    return {
      ...{ findings: [...findings, ...missingHere(ownEnd, end)], begin, end },
      comparedBytes: Math.max(0, both),
      behindBytes: Math.max(0, ownEnd - end),
    };
  } finally {
    store.close();
  }
}

function missingHere(ownEnd: LogPosition, end: LogPosition): Difference[] {
  if (end <= ownEnd) return [];
  const detail = `The log in the data directory ends at byte ${ownEnd}, and the archive holds it up to byte ${end}: the data directory has lost batches, or it is an old copy.`;
  return [{ code: 'raw_missing', detail }];
}

/**
 * Compares archived segments with those in a directory; skips segments that the directory lacks.
 */
function comparisonWith(directory: string): ByteObserver {
  return {
    async *observe(bytes: LogBytes, part: ArchivedPart, name: string, findings: Difference[]) {
      const { path } = segmentAt(directory, part.base);
      const file = openIfExists(nodeFileSystem, path);
      let at = part.from - part.base;
      let isSame = true;
      try {
        for await (const chunk of bytes) {
          const own = Buffer.allocUnsafe(chunk.length);
          const length = file === undefined ? 0 : readFully(file, own, at);
          if (isSame && !own.subarray(0, length).equals(chunk.subarray(0, length))) {
            isSame = false;
            findings.push(differs(name, path, part.base + at, own, chunk));
          }
          at += chunk.length;
          yield chunk;
        }
      } finally {
        file?.close();
      }
    },
  };
}

function differs(
  name: string,
  path: string,
  chunkAt: LogPosition,
  own: Uint8Array,
  chunk: Uint8Array,
): Difference {
  const position = chunkAt + chunk.findIndex((byte, index) => byte !== own[index]);
  const detail = `${path} and ${name} differ from byte ${position} of the log on. A damaged one has a finding of its own; if neither is damaged, they hold different batches.`;
  return { code: 'raw_damaged', detail };
}
