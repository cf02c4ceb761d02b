import type { LogFile } from './file-system.ts';
import {
  claimedLength,
  decodeFrame,
  frameHeaderBytes,
  frameMagic,
  type LogPosition,
  type LogRecord,
} from './frame.ts';
import { readFully, type Segment } from './segment.ts';

const windowBytes = 1024 * 1024;

/** A record and the position at which it ends. Its body shares memory with the scanner's buffer. */
export interface ScannedRecord {
  readonly record: LogRecord;
  readonly end: LogPosition;
}

/**
 * Yields the valid records of a segment in order, from the one at `from` up to `through`. Returns
 * the position at which it stopped: `through`, the end of the file, or the first bytes that are not
 * a valid record. Memory: 1 MiB, or the size of the largest record if that is more.
 */
export function* scanFrames(
  file: LogFile,
  segment: Segment,
  salt: number,
  from: LogPosition,
  through: LogPosition = Number.POSITIVE_INFINITY,
): Generator<ScannedRecord, LogPosition> {
  let position = from;
  let window: Buffer = Buffer.alloc(0);
  let windowAt = from;
  const fill = (bytes: number) => {
    const next = Buffer.allocUnsafe(Math.max(bytes, windowBytes));
    window = next.subarray(0, readFully(file, next, position - segment.base));
    windowAt = position;
  };
  const size = file.size();
  while (position < through) {
    if (window.length - (position - windowAt) < frameHeaderBytes) fill(frameHeaderBytes);
    const length = claimedLength(window, position - windowAt, position);
    if (length === undefined || position - segment.base + length > size) return position;
    if (window.length - (position - windowAt) < length) fill(length);
    const offset = position - windowAt;
    const record = decodeFrame(window.subarray(offset, offset + length), salt, position);
    if (record === undefined) return position;
    position += length;
    yield { record, end: position };
  }
  return position;
}

/**
 * Searches for valid records after damaged bytes: every position from `from` on at which there is a
 * complete frame. If one of them was written after a sync of the damaged bytes, those are damage
 * and not a torn tail.
 */
export function* searchFrames(
  file: LogFile,
  segment: Segment,
  salt: number,
  from: LogPosition,
): Generator<LogRecord> {
  const size = file.size();
  const window = Buffer.allocUnsafe(windowBytes);
  let windowAt = from - segment.base;
  while (windowAt < size) {
    const bytes = window.subarray(0, readFully(file, window, windowAt));
    let found = bytes.indexOf(frameMagic);
    while (found !== -1) {
      const record = readFrameAt(file, segment, salt, segment.base + windowAt + found);
      if (record !== undefined) yield record;
      found = bytes.indexOf(frameMagic, found + 1);
    }
    if (bytes.length < window.length) return;
    // The magic may span two windows.
    windowAt += bytes.length - (frameMagic.length - 1);
  }
}

/** The record at a position; undefined if there is no valid one. */
export function readFrameAt(
  file: LogFile,
  segment: Segment,
  salt: number,
  position: LogPosition,
): LogRecord | undefined {
  const offset = position - segment.base;
  const header = Buffer.allocUnsafe(frameHeaderBytes);
  if (readFully(file, header, offset) < header.length) return undefined;
  const length = claimedLength(header, 0, position);
  if (length === undefined || offset + length > file.size()) return undefined;
  const frame = Buffer.allocUnsafe(length);
  if (readFully(file, frame, offset) < length) return undefined;
  return decodeFrame(frame, salt, position);
}
