import type { FileSystem, LogFile } from './file-system.ts';
import { readFrameAt, scanFrames, type ScannedRecord } from './frame-scanner.ts';
import type { LogPosition, LogRecord } from './frame.ts';
import { badHeader, badRecord, hole } from './recovery.ts';
import {
  headerBytesOf,
  listSegments,
  readSegmentHeader,
  saltOfLog,
  segmentOf,
  type Segment,
} from './segment.ts';

interface OpenSegment {
  readonly segment: Segment;
  readonly file: LogFile;
  readonly headerBytes: number;
  readonly salt: number;
}

/** Reads a log, also beside the process that writes it. Holds one file open at a time. */
export class LogReader {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  #segments: Segment[] = [];
  #open: OpenSegment | undefined;

  constructor(fileSystem: FileSystem, directory: string) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
  }

  /** The record at a position, or undefined where no sound one begins. */
  recordAt(position: LogPosition): LogRecord | undefined {
    const segment = this.#segmentOf(position);
    const opened = segment && this.#openSegment(segment);
    if (opened === undefined) return undefined;
    return readFrameAt(opened.file, opened.segment, opened.salt, position);
  }

  /**
   * The records from a record's place (or an end, or 0) on, below `through`, in order. Stops
   * before the first in the last segment that is not sound: beside a running writer, that is one
   * being written. What retention removes meanwhile is passed over.
   * A record is valid until the next one is asked for.
   * @throws {LogDamaged} where a record is bad, or a file missing, that others follow.
   */
  *records(from: LogPosition = 0, through = Number.POSITIVE_INFINITY): Generator<ScannedRecord> {
    this.#segments = listSegments(this.#fileSystem, this.#directory);
    for (;;) {
      const segment = segmentOf(this.#segments, from) ?? this.#segments[0];
      if (segment === undefined) return;
      const wasLast = segment === this.#segments.at(-1);
      const opened = this.#openSegment(segment);
      if (opened !== undefined) {
        const start = Math.max(from, segment.base + opened.headerBytes);
        from = yield* scanFrames(opened.file, segment, opened.salt, start, through);
        if (from >= through) return;
      }
      this.#segments = listSegments(this.#fileSystem, this.#directory);
      if (!this.#segments.some(({ base }) => base > segment.base)) return;
      // One that was the last may have grown since, before the next was begun: it is read again.
      if (!wasLast) this.#checkReadThrough(segment, opened?.file.size(), from);
    }
  }

  /** The end of the sound records from an end (or 0) on. */
  endFrom(position: LogPosition): LogPosition {
    let end = position;
    for (const scanned of this.records(position)) ({ end } = scanned);
    return end;
  }

  close(): void {
    this.#open?.file.close();
    this.#open = undefined;
  }

  /** A segment that others follow is sound to its end, and the next begins there. */
  #checkReadThrough(segment: Segment, size: number | undefined, end: LogPosition): void {
    const isKept = this.#segments.some(({ base }) => base === segment.base);
    if (size === undefined) {
      if (isKept) throw badHeader(segment);
      return;
    }
    if (end < segment.base + size) throw badRecord(segment, end);
    const next = this.#segments.find(({ base }) => base > segment.base);
    if (isKept && next !== undefined && next.base !== end) throw hole(end, next);
  }

  #segmentOf(position: LogPosition): Segment | undefined {
    const known = segmentOf(this.#segments, position);
    // The last known segment may have been followed by another, or been removed.
    if (known !== undefined && known !== this.#segments.at(-1)) return known;
    this.#segments = listSegments(this.#fileSystem, this.#directory);
    return segmentOf(this.#segments, position);
  }

  #openSegment(segment: Segment): OpenSegment | undefined {
    const open = this.#open;
    // One that was empty may have been made again since.
    if (open?.segment.base === segment.base && open.file.size() > open.headerBytes) return open;
    let file: LogFile;
    try {
      file = this.#fileSystem.open(segment.path, 'read');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    const header = readSegmentHeader(file, segment);
    if (header === undefined) {
      file.close();
      return undefined;
    }
    this.close();
    const headerBytes = headerBytesOf(header);
    this.#open = { segment, file, headerBytes, salt: saltOfLog(header.logId) };
    return this.#open;
  }
}
