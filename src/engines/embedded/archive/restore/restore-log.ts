import { statSync } from 'node:fs';

import { inParallel } from '../../../../util/in-parallel.ts';
import { nodeFileSystem, withFile, type LogFile } from '../../log/file-system.ts';
import { scanFrames } from '../../log/frame-scanner.ts';
import type { LogPosition, LogRecord } from '../../log/frame.ts';
import {
  headerBytesOf,
  listSegments,
  readSegmentHeader,
  saltOfLog,
  segmentAt,
  writeFully,
} from '../../log/segment.ts';
import type { ArchivedSegment } from '../archive-objects.ts';
import { decompressed } from '../manage/archived-records.ts';
import type { ObjectStore } from '../stores/object-store.ts';
import {
  bytesOfPiece,
  ArchiveDamaged,
  readArchive,
  readUpToDamage,
  type ArchiveContent,
  type NumberedPiece,
} from '../read-archive.ts';

interface RestoreLogOptions {
  readonly store: ObjectStore;
  readonly content: ArchiveContent;
  /** The directory of the segments; it exists. */
  readonly directory: string;
  /** Ends the log before the first batch that was received after this; milliseconds since 1970. */
  readonly until: number | undefined;
  /** Ends the log before the first missing or damaged byte, instead of failing. */
  readonly isUpToDamage: boolean;
  readonly onProgress: (bytes: number, total: number) => void;
}

interface RestoredContent {
  readonly content: ArchiveContent;
  readonly end: LogPosition;
  /**
   * Why the restored log is shorter than the archive; undefined if it is not, or if `until` is the
   * reason.
   */
  readonly damage: ArchiveDamaged | undefined;
  /**
   * When the last batch of the log was received; undefined if this run did not read the last
   * segment.
   */
  readonly lastReceivedAt: number | undefined;
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
 * replaces objects meanwhile.
 * @throws {ArchiveDamaged}
 */
export async function restoreArchivedLog(
  options: Omit<RestoreLogOptions, 'content'> & { readonly logId: string },
): Promise<RestoredContent> {
  const read = options.isUpToDamage ? readUpToDamage : readArchive;
  for (let attempt = 1; ; attempt++) {
    const content = await read(options.store, options.logId);
    try {
      return { content, ...(await restoreLog({ ...options, content })) };
    } catch (error) {
      if (!(error instanceof SegmentGone) || attempt === attemptsMax) throw error;
    }
  }
}

/**
 * Writes the log's segments into a directory and checks every record. Keeps complete segments that an
 * interrupted restore has left.
 * @throws {ArchiveDamaged}
 */
async function restoreLog(options: RestoreLogOptions): Promise<Omit<RestoredContent, 'content'>> {
  const { content, directory, onProgress } = options;
  const log = new RestoredLog(options);
  let done = 0;
  const failures: unknown[] = [];
  await inParallel(readsAtOnce, segmentsOf(content), async (parts) => {
    if (failures.length > 0) return;
    try {
      await log.restoreSegment(parts);
    } catch (error) {
      // Thrown only when no other segment is being written, so that the restore can be repeated in
      // this directory.
      failures.push(error);
      return;
    }
    done += parts.end - parts.base;
    onProgress(done, content.end - content.begin);
  });
  if (failures.length > 0) throw failures[0];
  log.cutOff();
  nodeFileSystem.syncDirectory(directory);
  const { end, damage, lastReceivedAt } = log;
  return { end, damage, lastReceivedAt };
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
  #end: LogPosition;
  #damage: ArchiveDamaged | undefined;
  #headerBytes = 0;
  /** The last records of the segments that were read. */
  readonly #lastRecords: { readonly position: LogPosition; readonly receivedAt: number }[] = [];

  constructor(options: RestoreLogOptions) {
    this.#options = options;
    this.#end = options.content.end;
    this.#damage = options.content.damage;
  }

  /**
   * The end of the archive, or of the last record before damage or before a batch received after
   * `until`.
   */
  get end(): LogPosition {
    return this.#end;
  }

  /** Why the log ends there, if damage is the reason. */
  get damage(): ArchiveDamaged | undefined {
    return this.#damage;
  }

  get lastReceivedAt(): number | undefined {
    const restored = this.#lastRecords.filter(({ position }) => position < this.#end);
    return restored.sort((a, b) => a.position - b.position).at(-1)?.receivedAt;
  }

  async restoreSegment(parts: SegmentParts): Promise<void> {
    if (parts.base >= this.#end) return;
    const segment = segmentAt(this.#options.directory, parts.base);
    const part = `${segment.path}.part`;
    const isComplete =
      statSync(segment.path, { throwIfNoEntry: false })?.size === parts.end - parts.base;
    if (!isComplete) {
      const damage = await this.#write(part, parts);
      const end = this.#check(part, parts);
      if (end < Math.min(parts.end, this.#end)) this.#leaveOut(part, parts.base, end, damage);
      nodeFileSystem.rename(part, segment.path);
    } else if (this.#options.until !== undefined) {
      this.#check(segment.path, parts);
    }
  }

  /** Ends the log, and the file of a segment, before the damage. @throws {ArchiveDamaged} */
  #leaveOut(path: string, base: LogPosition, end: LogPosition, cause?: ArchiveDamaged): void {
    const { store, content, isUpToDamage } = this.#options;
    const damage = cause ?? damaged(store, end);
    if (!isUpToDamage || end <= content.begin) throw damage;
    truncate(path, end - base);
    this.#endBefore(end, damage);
  }

  #endBefore(end: LogPosition, damage?: ArchiveDamaged): void {
    this.#end = end;
    this.#damage = damage;
  }

  /**
   * Removes the segments that begin after the end, or before the beginning of the archive,
   * including those that an interrupted restore has left, and the rest of the segment that contains
   * the end. Keeps the first segment, which has the id of the log.
   */
  cutOff(): void {
    const { content, directory } = this.#options;
    for (const { base, path } of listSegments(nodeFileSystem, directory)) {
      const isAfter = base >= this.#end && base > content.begin;
      if (isAfter || base < content.begin) nodeFileSystem.remove(path);
      else truncate(path, Math.max(this.#end - base, this.#headerBytes));
    }
  }

  /** Writes the readable part of a segment. Returns why that is not all. @throws {SegmentGone} */
  async #write(path: string, parts: SegmentParts): Promise<ArchiveDamaged | undefined> {
    if (statSync(path, { throwIfNoEntry: false }) !== undefined) nodeFileSystem.remove(path);
    const file = nodeFileSystem.open(path, 'create');
    try {
      const damage = await this.#writeParts(file, parts).catch((error: unknown) => {
        if (!(error instanceof ArchiveDamaged) || error instanceof SegmentGone) throw error;
        return error;
      });
      file.sync();
      return damage;
    } finally {
      file.close();
    }
  }

  /** @throws {ArchiveDamaged} */
  async #writeParts(file: LogFile, { merged, pieces }: SegmentParts): Promise<undefined> {
    const { store, content } = this.#options;
    let at = merged === undefined ? 0 : await this.#writeMerged(file, merged);
    for (const piece of pieces) {
      const bytes = await bytesOfPiece(store, content.logId, piece);
      if (bytes === undefined) throw new SegmentGone('A merge has removed a piece meanwhile.');
      writeFully(file, bytes, at);
      at += bytes.length;
    }
  }

  /** Returns the number of bytes. */
  async #writeMerged(file: LogFile, { name, base, end }: ArchivedSegment): Promise<number> {
    const { store } = this.#options;
    const object = await store.get(name);
    if (object === undefined) throw new SegmentGone(`${name} is missing in ${store.url}.`);
    let at = 0;
    try {
      for await (const bytes of decompressed(object)) {
        writeFully(file, bytes, at);
        at += bytes.length;
      }
    } catch (error) {
      // An error of this machine's disk; it may be full.
      if (error instanceof Error && 'syscall' in error) throw error;
      throw new ArchiveDamaged(`${name} in ${store.url} is damaged.`, { cause: error });
    }
    if (at === end - base) return at;
    throw new ArchiveDamaged(`${name} in ${store.url} has ${at} bytes, not ${end - base}.`);
  }

  /**
   * Checks the header and every record, and looks for the first one after `until`. Returns the end of
   * what is valid, at most that of the segment.
   */
  #check(path: string, { base, end }: SegmentParts): LogPosition {
    const { content, until = Number.POSITIVE_INFINITY } = this.#options;
    const segment = { base, path };
    return withFile(nodeFileSystem, path, (file) => {
      const header = readSegmentHeader(file, segment);
      if (header?.logId.toString('hex') !== content.logId) return base;
      this.#headerBytes = headerBytesOf(header);
      const start = base + this.#headerBytes;
      const frames = scanFrames(file, segment, saltOfLog(header.logId), start, end);
      let found = frames.next();
      let last: LogRecord | undefined;
      for (; found.done !== true; found = frames.next()) {
        const { position, receivedAt, originId } = found.value.record;
        if (originId === undefined && receivedAt <= until) last = found.value.record;
        // Replayed batches were received elsewhere, perhaps long ago.
        if (originId !== undefined || receivedAt <= until) continue;
        if (position < this.#end) this.#endBefore(position === start ? base : position);
      }
      if (last !== undefined) this.#lastRecords.push(last);
      return found.value === start && start < end ? base : found.value;
    });
  }
}

function truncate(path: string, bytes: number): void {
  withFile(
    nodeFileSystem,
    path,
    (file) => {
      if (file.size() <= bytes) return;
      file.truncate(bytes);
      file.sync();
    },
    'read-write',
  );
}

function damaged(store: ObjectStore, position: LogPosition): ArchiveDamaged {
  return new ArchiveDamaged(
    `The log from byte ${position} on does not match its checksum in ${store.url}.`,
  );
}
