import { statSync } from 'node:fs';
import { Readable } from 'node:stream';
import { createZstdDecompress } from 'node:zlib';

import { inParallel } from '../../../../util/in-parallel.ts';
import { nodeFileSystem, withFile, type LogFile } from '../../log/file-system.ts';
import { scanFrames } from '../../log/frame-scanner.ts';
import type { LogPosition } from '../../log/frame.ts';
import {
  headerBytesOf,
  listSegments,
  readSegmentHeader,
  saltOfLog,
  segmentAt,
  writeFully,
  type Segment,
} from '../../log/segment.ts';
import type { ArchivedSegment } from '../archive-objects.ts';
import type { ObjectStore } from '../stores/object-store.ts';
import {
  bytesOfPiece,
  ArchiveDamaged,
  readArchive,
  type ArchiveContent,
  type NumberedPiece,
} from '../read-archive.ts';

interface RestoreLogOptions {
  readonly store: ObjectStore;
  readonly content: ArchiveContent;
  /** Of the segments; exists. */
  readonly directory: string;
  /** Ends the log before the first batch that was received after this; milliseconds since 1970. */
  readonly until: number | undefined;
  readonly onProgress: (bytes: number, total: number) => void;
}

/** A segment as the archive has it. */
interface SegmentParts {
  readonly base: LogPosition;
  readonly end: LogPosition;
  readonly merged: ArchivedSegment | undefined;
  readonly pieces: readonly NumberedPiece[];
}

/** The archive no longer has an object that it had: retention, or a merge, has removed it. */
class SegmentGone extends ArchiveDamaged {}

const readsAtOnce = 4;
const attemptsMax = 10;

/**
 * Reads an archive and restores its log, also while a server ships to it: reads it again if a merge
 * replaces objects meanwhile. Returns what it has read and the end of the restored log.
 * @throws {ArchiveDamaged}
 */
export async function restoreArchivedLog(
  options: Omit<RestoreLogOptions, 'content'> & { readonly logId: string },
): Promise<{ content: ArchiveContent; end: LogPosition }> {
  for (let attempt = 1; ; attempt++) {
    const content = await readArchive(options.store, options.logId);
    try {
      return { content, end: await restoreLog({ ...options, content }) };
    } catch (error) {
      if (!(error instanceof SegmentGone) || attempt === attemptsMax) throw error;
    }
  }
}

/**
 * Writes the log's segments into a directory and checks every record. Keeps complete segments that an
 * interrupted restore has left. Returns the end of the log.
 * @throws {ArchiveDamaged}
 */
export async function restoreLog(options: RestoreLogOptions): Promise<LogPosition> {
  const { content, directory, onProgress } = options;
  const log = new RestoredLog(options);
  let done = 0;
  const failures: unknown[] = [];
  await inParallel(readsAtOnce, segmentsOf(content), async (parts) => {
    if (failures.length > 0) return;
    try {
      await log.restoreSegment(parts);
    } catch (error) {
      // Thrown when no other is being written, so that it can be repeated in this directory.
      failures.push(error);
      return;
    }
    done += parts.end - parts.base;
    onProgress(done, content.end - content.begin);
  });
  if (failures.length > 0) throw failures[0];
  log.cutOff();
  nodeFileSystem.syncDirectory(directory);
  return Math.min(content.end, log.cut);
}

function segmentsOf({ segments, pieces }: ArchiveContent): SegmentParts[] {
  const byBase = new Map<LogPosition, NumberedPiece[]>();
  for (const piece of pieces) byBase.set(piece.base, [...(byBase.get(piece.base) ?? []), piece]);
  const merged = segments.map((segment) => {
    const later = byBase.get(segment.base) ?? [];
    byBase.delete(segment.base);
    return {
      base: segment.base,
      end: later.at(-1)?.to ?? segment.end,
      merged: segment,
      pieces: later,
    };
  });
  const others = [...byBase].map(([base, own]) => {
    return { base, end: own.at(-1)?.to ?? base, merged: undefined, pieces: own };
  });
  return [...merged, ...others];
}

class RestoredLog {
  readonly #options: RestoreLogOptions;
  /** The end of the last record before the first one after `until`. */
  #cut: LogPosition = Number.POSITIVE_INFINITY;
  #headerBytes = 0;

  constructor(options: RestoreLogOptions) {
    this.#options = options;
  }

  get cut(): LogPosition {
    return this.#cut;
  }

  async restoreSegment(parts: SegmentParts): Promise<void> {
    if (parts.base >= this.#cut) return;
    const segment = segmentAt(this.#options.directory, parts.base);
    const part = `${segment.path}.part`;
    const isComplete =
      statSync(segment.path, { throwIfNoEntry: false })?.size === parts.end - parts.base;
    if (!isComplete) {
      await this.#write(part, parts);
      this.#check(part, parts);
      nodeFileSystem.rename(part, segment.path);
    } else if (this.#options.until !== undefined) {
      this.#check(segment.path, parts);
    }
  }

  /**
   * Removes what begins after the cut, also what an interrupted restore has left there, and the rest of
   * the segment that contains it. Keeps the first segment, which has the id of the log.
   */
  cutOff(): void {
    const { content, directory } = this.#options;
    for (const segment of listSegments(nodeFileSystem, directory)) {
      const isAfter = segment.base >= this.#cut && segment.base > content.begin;
      if (isAfter) nodeFileSystem.remove(segment.path);
      else this.#truncate(segment);
    }
  }

  async #write(path: string, { merged, pieces }: SegmentParts): Promise<void> {
    const { store, content } = this.#options;
    if (statSync(path, { throwIfNoEntry: false }) !== undefined) nodeFileSystem.remove(path);
    const file = nodeFileSystem.open(path, 'create');
    try {
      let at = merged === undefined ? 0 : await this.#writeMerged(file, merged);
      for (const piece of pieces) {
        const bytes = await bytesOfPiece(store, content.logId, piece);
        if (bytes === undefined) throw new SegmentGone('A merge has removed a piece meanwhile.');
        writeFully(file, bytes, at);
        at += bytes.length;
      }
      file.sync();
    } finally {
      file.close();
    }
  }

  /** Returns the number of bytes. */
  async #writeMerged(file: LogFile, { name, base, end }: ArchivedSegment): Promise<number> {
    const { store } = this.#options;
    const object = await store.get(name);
    if (object === undefined) throw new SegmentGone(`${name} is missing in ${store.url}.`);
    let at = 0;
    try {
      for await (const bytes of Readable.from([object]).pipe(createZstdDecompress())) {
        writeFully(file, bytes as Buffer, at);
        at += (bytes as Buffer).length;
      }
    } catch (error) {
      // Of this disk, such as one that is full.
      if (error instanceof Error && 'syscall' in error) throw error;
      throw new ArchiveDamaged(`${name} in ${store.url} is damaged.`, { cause: error });
    }
    if (at === end - base) return at;
    throw new ArchiveDamaged(`${name} in ${store.url} has ${at} bytes, not ${end - base}.`);
  }

  /** Checks the header and every record, and looks for the first one after `until`. */
  #check(path: string, { base, end }: SegmentParts): void {
    const { content, store, until = Number.POSITIVE_INFINITY } = this.#options;
    const segment = { base, path };
    withFile(nodeFileSystem, path, (file) => {
      const header = readSegmentHeader(file, segment);
      if (header?.logId.toString('hex') !== content.logId) throw damaged(store, base);
      this.#headerBytes = headerBytesOf(header);
      const start = base + this.#headerBytes;
      const frames = scanFrames(file, segment, saltOfLog(header.logId), start, end);
      let found = frames.next();
      for (; found.done !== true; found = frames.next()) {
        const { position, receivedAt, originId } = found.value.record;
        // Replayed batches were received elsewhere, perhaps long ago.
        if (originId !== undefined || receivedAt <= until) continue;
        this.#cut = Math.min(this.#cut, position === start ? base : position);
      }
      if (found.value < end) throw damaged(store, found.value);
    });
  }

  #truncate({ base, path }: Segment): void {
    withFile(
      nodeFileSystem,
      path,
      (file) => {
        const bytes = Math.max(this.#cut - base, this.#headerBytes);
        if (file.size() <= bytes) return;
        file.truncate(bytes);
        file.sync();
      },
      'read-write',
    );
  }
}

function damaged(store: ObjectStore, position: LogPosition): ArchiveDamaged {
  return new ArchiveDamaged(
    `What ${store.url} holds of the log from byte ${position} on does not match its checksum.`,
  );
}
