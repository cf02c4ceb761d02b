import { openIfExists } from '../../log/file-system.ts';
import type { LogPosition } from '../../log/frame.ts';
import { listSegments, readFully, segmentAt } from '../../log/segment.ts';
import { decompress } from '../archive-objects.ts';
import type { ArchivePositions } from '../archive-positions.ts';
import type { ShippedLog } from './next-piece.ts';
import { notContinued, takenOver, TakenOver } from './taken-over.ts';
import type { ObjectStore } from '../stores/object-store.ts';
import { ArchiveDamaged, bytesOfPiece, type ArchiveContent } from '../read-archive.ts';

interface Continuation {
  readonly store: ObjectStore;
  readonly log: ShippedLog;
  readonly positions: Pick<ArchivePositions, 'durableEnd'>;
  readonly content: ArchiveContent;
  /**
   * The claims after which this data directory may continue; undefined if it was never archived.
   */
  readonly known: readonly string[] | undefined;
}

/**
 * Checks that the log of this data directory continues the one in the archive.
 * @throws {TakenOver | ArchiveDamaged}, or an Error if the archive has changed meanwhile.
 */
export async function checkContinues(parts: Continuation): Promise<void> {
  const { store, content, known, positions } = parts;
  if (content.claim === undefined) {
    if (content.next === 0) return;
    throw new ArchiveDamaged(`${store.url} has lost the claim of the server that wrote it last.`);
  }
  if (known === undefined) throw notContinued(store.url, content.claim);
  if (!known.includes(content.claim.id)) throw takenOver(store.url, content.claim);
  const [first] = listSegments(parts.log.fileSystem, parts.log.directory);
  if (first !== undefined && content.end < first.base) {
    throw new TakenOver(
      `The archive ${store.url} holds the log up to byte ${content.end}, but this data directory has removed the log after that (--keep-raw, in a run without --archive): it begins at byte ${first.base}. Archive it to another prefix, and keep the old one for its raw bodies.`,
    );
  }
  if (content.end <= positions.durableEnd && (await isSameAtEnd(parts))) return;
  throw new TakenOver(
    `The archive ${store.url} holds the log up to byte ${content.end}, but the log of this data directory ends at byte ${positions.durableEnd}, or has other batches. If it is an old copy, restore a new one from the archive (restore); if it is the right one, archive it to another prefix.`,
  );
}

/** Whether the last bytes of the archive are those of this log. */
async function isSameAtEnd({ store, log, content }: Continuation): Promise<boolean> {
  const piece = content.pieces.at(-1);
  if (piece !== undefined) {
    const bytes = await bytesOfPiece(store, content.logId, piece);
    if (bytes === undefined) throw new Error('the last piece has been merged meanwhile');
    return isSame(log, piece.base, piece.from, bytes);
  }
  const segment = content.segments.at(-1);
  if (segment === undefined) return true;
  const object = await store.get(segment.name);
  if (object === undefined) throw new Error(`${segment.name} has been replaced meanwhile`);
  return isSame(log, segment.base, segment.base, decompress(object));
}

/** Also true if retention has removed the segment, but not if the log has other segments. */
function isSame(
  { fileSystem, directory }: ShippedLog,
  base: LogPosition,
  from: LogPosition,
  bytes: Uint8Array,
): boolean {
  const file = openIfExists(fileSystem, segmentAt(directory, base).path);
  if (file === undefined) return base < (listSegments(fileSystem, directory)[0]?.base ?? 0);
  try {
    const own = Buffer.allocUnsafe(bytes.length);
    return readFully(file, own, from - base) === own.length && own.equals(bytes);
  } finally {
    file.close();
  }
}
