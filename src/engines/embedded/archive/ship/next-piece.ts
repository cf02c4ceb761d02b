import { withFile, type FileSystem } from '../../log/file-system.ts';
import { scanFrames } from '../../log/frame-scanner.ts';
import type { LogPosition } from '../../log/frame.ts';
import { badRecord, noRecordAt } from '../../log/recovery.ts';
import {
  headerBytesOf,
  listSegments,
  readFully,
  saltOfLog,
  segmentOf,
  type LogIdentity,
  type Segment,
} from '../../log/segment.ts';

/** The log of a running server, as the archive reads it. */
export interface ShippedLog {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly identity: LogIdentity;
}

export interface LogPiece {
  readonly segment: Segment;
  readonly from: LogPosition;
  readonly to: LogPosition;
  readonly bytes: Buffer;
  /** Whether the next record did not fit. */
  readonly isFull: boolean;
  /** Whether the segment ends with this piece and another one follows. */
  readonly isLast: boolean;
}

/**
 * Reads whole records from a position up to the durable end of the log, of one segment and at most
 * about `bytesMax` bytes, and checks them. Undefined if there are none.
 * @throws {LogDamaged}
 */
export function nextPiece(
  { fileSystem, directory, identity }: ShippedLog,
  from: LogPosition,
  durableEnd: LogPosition,
  bytesMax: number,
): LogPiece | undefined {
  if (from >= durableEnd) return undefined;
  const segments = listSegments(fileSystem, directory);
  const segment = segmentOf(segments, from);
  if (segment === undefined) throw noRecordAt(from);
  const next = segments[segments.indexOf(segment) + 1];
  const limit = Math.min(durableEnd, next?.base ?? durableEnd);
  const start = from === segment.base ? from + headerBytesOf(identity) : from;
  return withFile(fileSystem, segment.path, (file) => {
    const salt = saltOfLog(identity.logId);
    let to = start;
    let isFull = false;
    for (const { end } of scanFrames(file, segment, salt, start, limit)) {
      isFull = to > start && end - from > bytesMax;
      if (isFull) break;
      to = end;
    }
    if (to < limit && !isFull) throw badRecord(segment, to);
    const bytes = Buffer.allocUnsafe(to - from);
    readFully(file, bytes, from - segment.base);
    return { segment, from, to, bytes, isFull, isLast: to === next?.base };
  });
}
