import type { FileSystem, LogFile } from './file-system.ts';
import { readFrameAt, scanFrames, type ScannedRecord } from './frame-scanner.ts';
import type { LogPosition, LogRecord } from './log-frame.ts';
import {
  listSegments,
  readSegmentHeader,
  saltOfLog,
  segmentHeaderBytes,
  segmentOf,
  type Segment,
} from './log-segment.ts';

/** Reads a log, also beside the process that writes it. Holds one file open at a time. */
export class LogReader {
  readonly #fileSystem: FileSystem;
  readonly #directory: string;
  #segments: Segment[] = [];
  #open: { readonly segment: Segment; readonly file: LogFile; readonly salt: number } | undefined;

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
   * before the first that is not sound: beside a running writer, that is one being written.
   * A record is valid until the next one is asked for.
   */
  *records(from: LogPosition = 0, through = Number.POSITIVE_INFINITY): Generator<ScannedRecord> {
    this.#segments = listSegments(this.#fileSystem, this.#directory);
    for (;;) {
      const segment = this.#segmentOf(from) ?? this.#segments[0];
      const opened = segment && this.#openSegment(segment);
      if (opened === undefined) return;
      const { file, salt } = opened;
      const start = Math.max(from, opened.segment.base + segmentHeaderBytes);
      const end = yield* scanFrames(file, opened.segment, salt, start, through);
      if (end >= through) return;
      // The next segment begins just where this one ends; else nothing sound follows.
      this.#segments = listSegments(this.#fileSystem, this.#directory);
      if (!this.#segments.some(({ base }) => base === end)) return;
      from = end;
    }
  }

  /** The first position that is still kept, and the end of the files. */
  extent(): { readonly start: LogPosition; readonly end: LogPosition } {
    this.#segments = listSegments(this.#fileSystem, this.#directory);
    const last = this.#segments.at(-1);
    const opened = last && this.#openSegment(last);
    if (last === undefined || opened === undefined) return { start: 0, end: 0 };
    const size = opened.file.size();
    const end = last.base + (size > segmentHeaderBytes ? size : 0);
    return { start: this.#segments[0]?.base ?? 0, end };
  }

  close(): void {
    this.#open?.file.close();
    this.#open = undefined;
  }

  #segmentOf(position: LogPosition): Segment | undefined {
    const known = segmentOf(this.#segments, position);
    // The last known segment may have been followed by another, or been removed.
    if (known !== undefined && known !== this.#segments.at(-1)) return known;
    this.#segments = listSegments(this.#fileSystem, this.#directory);
    return segmentOf(this.#segments, position);
  }

  #openSegment(segment: Segment) {
    if (this.#open?.segment.base === segment.base) return this.#open;
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
    this.#open = { segment, file, salt: saltOfLog(header.logId) };
    return this.#open;
  }
}
