import { openIfExists, type FileSystem, type LogFile } from './file-system.ts';
import { readFrameAt, scanFrames, type ScannedRecord } from './frame-scanner.ts';
import type { LogPosition, LogRecord } from './frame.ts';
import { badHeader, badRecord, missingSegment } from './recovery.ts';
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

/** Reads a log, also while another process writes it. Keeps at most one file open. */
export class LogReader {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  #segments: Segment[] = [];
  #open: OpenSegment | undefined;

  constructor(fileSystem: FileSystem, directory: string) {
    this.#fileSystem = fileSystem;
    this.#directory = directory;
  }

  /** The record at a position; undefined if there is no valid one. */
  recordAt(position: LogPosition): LogRecord | undefined {
    const segment = this.#segmentOf(position);
    const opened = segment && this.#openSegment(segment);
    if (opened === undefined) return undefined;
    return readFrameAt(opened.file, opened.segment, opened.salt, position);
  }

  /**
   * Yields the records between two positions in order; `from` is a record's position or end, or 0.
   * Stops before the first invalid record of the last segment: the writer may be writing it.
   * Skips segments that retention removes meanwhile. Each record is valid until the next one is
   * requested.
   * @throws {LogDamaged} if an invalid record or a missing file is followed by another segment.
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
      // The last segment may have grown before the next one was created: read it again.
      if (!wasLast) this.#checkReadThrough(segment, opened?.file.size(), from);
    }
  }

  /** The end of the last valid record after `position`, which is a record's end or 0. */
  endFrom(position: LogPosition): LogPosition {
    let end = position;
    for (const scanned of this.records(position)) ({ end } = scanned);
    return end;
  }

  close(): void {
    this.#open?.file.close();
    this.#open = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Every segment but the last must be valid to its end, and the next one must begin there. */
  #checkReadThrough(segment: Segment, size: number | undefined, end: LogPosition): void {
    const isKept = this.#segments.some(({ base }) => base === segment.base);
    if (size === undefined) {
      if (isKept) throw badHeader(segment);
      return;
    }
    if (end < segment.base + size) throw badRecord(segment, end);
    const next = this.#segments.find(({ base }) => base > segment.base);
    if (isKept && next !== undefined && next.base !== end) throw missingSegment(end, next);
  }

  #segmentOf(position: LogPosition): Segment | undefined {
    const known = segmentOf(this.#segments, position);
    // There may be a newer segment than the last known one, or the last known one may have been
    // removed.
    if (known !== undefined && known !== this.#segments.at(-1)) return known;
    this.#segments = listSegments(this.#fileSystem, this.#directory);
    return segmentOf(this.#segments, position);
  }

  #openSegment(segment: Segment): OpenSegment | undefined {
    const open = this.#open;
    // A segment without records may have been replaced.
    if (open?.segment.base === segment.base && open.file.size() > open.headerBytes) return open;
    const file = openIfExists(this.#fileSystem, segment.path);
    if (file === undefined) return undefined;
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
