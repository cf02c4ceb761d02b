import type { FileSystem, LogFile } from './file-system.ts';
import { scanFrames, searchFrames, type ScannedRecord } from './frame-scanner.ts';
import type { LogPosition } from './log-frame.ts';
import {
  listSegments,
  readFully,
  readSegmentHeader,
  saltOfLog,
  segmentHeaderBytes,
  segmentOf,
  writeFully,
  type Segment,
} from './log-segment.ts';

/** The log cannot be opened without losing what was acknowledged. Nothing was changed. */
export class LogDamaged extends Error {
  constructor(what: string) {
    super(
      `${what} Nothing was changed. Restore the data directory from a backup, or move it away ` +
        `and start with an empty one.`,
    );
    this.name = 'LogDamaged';
  }
}

export interface RecoveredLog {
  readonly segments: readonly Segment[];
  readonly logId: Buffer;
  /** The last segment, open for writing. */
  readonly file: LogFile;
  readonly end: LogPosition;
  /** Bytes of a torn tail that were cut off. */
  readonly tornBytes: number;
}

/**
 * Opens a log as a crash or a power failure may have left it. What was synced is all there or
 * the log is damaged; what was not, and so was never acknowledged, is kept as far as it is whole
 * and in order, and cut off from the first record that is not. The rule that tells the two apart:
 * a bad record is damage if the counters had counted it or if a sound record behind it says that
 * it was synced. Only segments that may hold uncounted records, and the last, are read.
 * @param countedThrough the position up to which the counters have counted.
 * @param visit is called with the records behind that position, in order.
 * @returns undefined where there is no log yet.
 * @throws {LogDamaged}
 */
export function recoverLog(
  fileSystem: FileSystem,
  directory: string,
  countedThrough: LogPosition,
  visit: (scanned: ScannedRecord) => void,
): RecoveredLog | undefined {
  const segments = dropUnfinishedSegment(fileSystem, directory);
  const last = segments.at(-1);
  if (last === undefined) {
    if (countedThrough === 0) return undefined;
    throw new LogDamaged(
      `The counters hold what the log had up to byte ${countedThrough}, but ${directory} holds no log.`,
    );
  }
  const first = segments[0] ?? last;
  if (countedThrough < first.base) {
    throw new LogDamaged(
      `The counters need the log from byte ${countedThrough} on, but it begins at byte ${first.base}.`,
    );
  }
  const logId = checkHeaders(fileSystem, segments);
  const salt = saltOfLog(logId);
  const scanFrom = segmentOf(segments, Math.min(countedThrough, last.base)) ?? first;

  const onRecord = (scanned: ScannedRecord) => {
    if (scanned.end > countedThrough) visit(scanned);
  };
  for (const segment of segments.slice(segments.indexOf(scanFrom), -1)) {
    scanSealedSegment(fileSystem, segment, salt, onRecord);
  }
  const file = fileSystem.open(last.path, 'read-write');
  try {
    const tail = recoverTail(file, last, salt, countedThrough, onRecord);
    return { segments, logId, file, ...tail };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** A segment whose creation was cut short holds no record yet; it is removed and made again. */
function dropUnfinishedSegment(fileSystem: FileSystem, directory: string): Segment[] {
  const segments = listSegments(fileSystem, directory);
  const last = segments.at(-1);
  if (last === undefined) return segments;
  const isUnfinished = withFile(fileSystem, last, (file) => {
    return file.size() <= segmentHeaderBytes && readSegmentHeader(file, last) === undefined;
  });
  if (!isUnfinished) return segments;
  fileSystem.remove(last.path);
  fileSystem.syncDirectory(directory);
  return segments.slice(0, -1);
}

/** Every header sound, of one log, and each segment beginning where the one before it ends. */
function checkHeaders(fileSystem: FileSystem, segments: readonly Segment[]): Buffer {
  let logId: Buffer | undefined;
  let expectedBase = segments[0]?.base;
  for (const segment of segments) {
    if (segment.base !== expectedBase) {
      throw new LogDamaged(
        `The log has a hole: the file that begins at byte ${expectedBase} is missing or cut short before ${segment.path}.`,
      );
    }
    withFile(fileSystem, segment, (file) => {
      const header = readSegmentHeader(file, segment);
      if (header === undefined || (logId !== undefined && !header.logId.equals(logId))) {
        throw new LogDamaged(`The header of ${segment.path} is damaged or of another log.`);
      }
      logId = header.logId;
      expectedBase = segment.base + file.size();
    });
  }
  if (logId === undefined) throw new Error('a log has at least one segment');
  return logId;
}

/** All of a segment was synced before the next one was begun: a bad record in it is damage. */
function scanSealedSegment(
  fileSystem: FileSystem,
  segment: Segment,
  salt: number,
  visit: (scanned: ScannedRecord) => void,
): void {
  withFile(fileSystem, segment, (file) => {
    const end = scan(file, segment, salt, visit);
    if (end < segment.base + file.size()) throw badRecord(segment, end);
  });
}

function recoverTail(
  file: LogFile,
  segment: Segment,
  salt: number,
  countedThrough: LogPosition,
  visit: (scanned: ScannedRecord) => void,
): { end: LogPosition; tornBytes: number } {
  let provenThrough = Math.max(countedThrough, segment.base + segmentHeaderBytes);
  const end = scan(file, segment, salt, (scanned) => {
    provenThrough = Math.max(provenThrough, scanned.record.syncedThrough);
    visit(scanned);
  });
  const tornBytes = segment.base + file.size() - end;
  if (tornBytes > 0) {
    if (countedThrough > end) throw badRecord(segment, end);
    for (const later of searchFrames(file, segment, salt, end)) {
      if (later.syncedThrough > end) throw badRecord(segment, end);
    }
    file.truncate(end - segment.base);
    file.sync();
  }
  if (countedThrough > end) {
    throw new LogDamaged(
      `The counters hold what the log had up to byte ${countedThrough}, but ${segment.path} ends at byte ${end}.`,
    );
  }
  syncAgain(file, segment, provenThrough, end);
  return { end, tornBytes };
}

/**
 * Writes and syncs what no record proves to be durable. After a failed sync the kernel may hold
 * such bytes in memory as if they were on the disk; only another write makes it write them.
 */
function syncAgain(file: LogFile, segment: Segment, from: LogPosition, end: LogPosition): void {
  const piece = Buffer.allocUnsafe(1024 * 1024);
  for (let at = from; at < end; at += piece.length) {
    const bytes = piece.subarray(0, Math.min(piece.length, end - at));
    readFully(file, bytes, at - segment.base);
    writeFully(file, bytes, at - segment.base);
  }
  if (from < end) file.sync();
}

function scan(
  file: LogFile,
  segment: Segment,
  salt: number,
  visit: (scanned: ScannedRecord) => void,
): LogPosition {
  const frames = scanFrames(file, segment, salt);
  for (;;) {
    const next = frames.next();
    if (next.done === true) return next.value;
    visit(next.value);
  }
}

function badRecord(segment: Segment, position: LogPosition): LogDamaged {
  return new LogDamaged(
    `The log is damaged: the record at byte ${position - segment.base} of ${segment.path} does not match its checksum, though it was safely stored.`,
  );
}

function withFile<T>(fileSystem: FileSystem, segment: Segment, use: (file: LogFile) => T): T {
  const file = fileSystem.open(segment.path, 'read');
  try {
    return use(file);
  } finally {
    file.close();
  }
}
