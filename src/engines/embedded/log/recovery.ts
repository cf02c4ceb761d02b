import { withFile, type FileSystem, type LogFile } from './file-system.ts';
import { scanFrames, searchFrames, type ScannedRecord } from './frame-scanner.ts';
import type { LogPosition } from './frame.ts';
import {
  replaceSegment,
  headerBytesMax,
  headerBytesOf,
  listSegments,
  readFully,
  readLogIdentity,
  readSegmentHeader,
  saltOfLog,
  segmentOf,
  type LogIdentity,
  type Segment,
} from './segment.ts';
import { finishRewrite, rewrite } from './rewrite.ts';

/** The log cannot be opened without losing acknowledged batches. Nothing was changed. */
export class LogDamaged extends Error {
  constructor(what: string) {
    super(
      `${what} Nothing was changed. Restore the data directory from a backup, or move it away ` +
        `and start with an empty one.`,
    );
    this.name = 'LogDamaged';
  }
}

/** Advice about missing segments whose increments pipeline.db has not recorded. */
export const unrecordedRemovalHint =
  'If old segments were removed there (--keep-raw) by a version that did not record their counts, or if pipeline.db was restored from a backup older than their removal, the counters are correct: put back the pipeline.db that was in use when they were removed, or leave everything as it is, and do not rebuild.';

export class RemovalNotRecorded extends Error {
  override readonly name = 'RemovalNotRecorded';

  constructor(through: LogPosition) {
    super(
      `The log before byte ${through} is missing, and pipeline.db has no record of its counts. ${unrecordedRemovalHint}`,
    );
  }
}

interface RecoveryOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  /** The log is counted up to this position. */
  readonly countedThrough: LogPosition;
  /** Retention may have removed segments that end at or before this. */
  readonly removedThrough: LogPosition;
  /** Damaged ranges that an operator has accepted: their ends by their beginnings. */
  readonly acceptedDamage: ReadonlyMap<LogPosition, LogPosition>;
  /** Called in order with all records after `countedThrough`, and some before it. */
  readonly visit: (scanned: ScannedRecord) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export interface RecoveredLog extends LogIdentity {
  readonly segments: readonly Segment[];
  /** The last segment, open for writing. */
  readonly file: LogFile;
  readonly end: LogPosition;
  /** Bytes of a torn tail that recovery cut off. */
  readonly tornBytes: number;
}

/**
 * Opens a log after a stop, crash or power failure. Synced records must all be valid; otherwise the
 * log is damaged. Records that were never synced, and so never acknowledged, are kept up to the first
 * invalid one; the rest is cut off. An invalid record is damage if it was counted, or if a later
 * valid record says that it was synced. Reads the last segment and those that may hold uncounted
 * records. Changes nothing before all of that is verified, except that it first completes an
 * interrupted rewrite.
 * @returns undefined if there is no log yet.
 * @throws {LogDamaged}
 */
export function recoverLog(options: RecoveryOptions): RecoveredLog | undefined {
  const { fileSystem, directory, countedThrough, removedThrough, acceptedDamage, visit } = options;
  const found = listSegments(fileSystem, directory);
  finishRewrite(fileSystem, directory, found);
  const leftOver = leftoverSegments(fileSystem, found, removedThrough);
  const segments = found.slice(leftOver.length);
  const last = segments.at(-1);
  if (last === undefined) {
    if (countedThrough === 0) return undefined;
    throw countersAhead(countedThrough, `${directory} holds no log`);
  }
  const first = segments[0] ?? last;
  if (countedThrough < first.base) {
    throw new LogDamaged(
      `The counters need the log from byte ${countedThrough} on, but it begins at byte ${first.base}: pipeline.db is missing, or older than the removal of segments by --keep-raw.`,
    );
  }
  const isLastEmpty = holdsNoRecord(options, segments, last);
  const identity = checkHeaders(fileSystem, segments, isLastEmpty);
  if (identity === undefined) {
    if (countedThrough > 0) throw countersAhead(countedThrough, `${last.path} holds no record`);
    // The creation of the first segment was interrupted, so nothing was ever stored.
    fileSystem.remove(last.path);
    return undefined;
  }
  const headerBytes = headerBytesOf(identity);
  const scanOptions = { salt: saltOfLog(identity.logId), headerBytes, acceptedDamage };
  const scanFrom = segmentOf(segments, Math.min(countedThrough, last.base)) ?? first;

  for (const segment of segments.slice(segments.indexOf(scanFrom), -1)) {
    scanSealedSegment(fileSystem, segment, scanOptions, visit);
  }
  for (const { path } of leftOver) fileSystem.remove(path);
  if (isLastEmpty)
    return { segments, ...identity, ...recreateEmptySegment(options, last, identity) };
  const file = fileSystem.open(last.path, 'read-write');
  try {
    const tail = recoverTail(options, { file, segment: last, ...identity }, scanOptions, visit);
    // A killed process may have removed segments without syncing the directory.
    fileSystem.syncDirectory(directory);
    return { segments, ...identity, file, ...tail };
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * Segments that retention removed, but whose removal was not durable although that of a later segment
 * was: those before the last gap in the part of the log that may be removed.
 */
function leftoverSegments(
  fileSystem: FileSystem,
  segments: readonly Segment[],
  removedThrough: LogPosition,
): readonly Segment[] {
  let count = 0;
  let end: LogPosition | undefined;
  for (const [index, segment] of segments.entries()) {
    if (segment.base > removedThrough) break;
    if (end !== undefined && segment.base !== end) count = index;
    end = segment.base + withFile(fileSystem, segment.path, (file) => file.size());
  }
  return segments.slice(0, count);
}

/** Whether the last segment has no record, perhaps because its creation was interrupted. */
function holdsNoRecord(
  { fileSystem, directory }: RecoveryOptions,
  segments: readonly Segment[],
  last: Segment,
): boolean {
  // The segments before it were removed, which happens only after its creation is complete.
  if (segments.length === 1 && last.base > 0) return false;
  const bytes = withFile(fileSystem, last.path, (file) => file.size());
  if (bytes > headerBytesMax) return false;
  const known = readLogIdentity(fileSystem, directory);
  // Without a valid header its length is unknown; no record fits into the longer one.
  return known === undefined || bytes <= headerBytesOf(known);
}

/**
 * Replaces a last segment that has no record. Its header and directory entry may not be durable, and
 * after a failed sync another sync does not prove that they are.
 */
function recreateEmptySegment(
  { fileSystem, directory, countedThrough, now }: RecoveryOptions,
  segment: Segment,
  identity: LogIdentity,
): { file: LogFile; end: LogPosition; tornBytes: number } {
  if (countedThrough > segment.base) {
    throw countersAhead(countedThrough, `${segment.path} holds no record`);
  }
  const header = { ...identity, createdAt: now() };
  const file = replaceSegment(fileSystem, directory, segment, header);
  return { file, end: segment.base + headerBytesOf(identity), tornBytes: 0 };
}

/**
 * Verifies that all headers are valid and of one log, and that each segment begins where the one
 * before it ends. Only an empty last segment may lack a header; undefined if it is the only one.
 */
function checkHeaders(
  fileSystem: FileSystem,
  segments: readonly Segment[],
  isLastEmpty: boolean,
): LogIdentity | undefined {
  let identity: LogIdentity | undefined;
  let expectedBase = segments[0]?.base ?? 0;
  for (const segment of segments) {
    if (segment.base !== expectedBase) {
      throw missingSegment(expectedBase, segment);
    }
    withFile(fileSystem, segment.path, (file) => {
      const header = readSegmentHeader(file, segment);
      if (header === undefined && isLastEmpty && segment === segments.at(-1)) return;
      if (header === undefined || (identity !== undefined && !isSameLog(header, identity))) {
        throw badHeader(segment);
      }
      identity = { logId: header.logId, dayZone: header.dayZone };
      expectedBase = segment.base + file.size();
    });
  }
  return identity;
}

function isSameLog(one: LogIdentity, other: LogIdentity): boolean {
  return one.logId.equals(other.logId) && one.dayZone === other.dayZone;
}

/** A segment is synced before the next one is created, so an invalid record in it is damage. */
function scanSealedSegment(
  fileSystem: FileSystem,
  segment: Segment,
  options: ScanOptions,
  visit: (scanned: ScannedRecord) => void,
): void {
  withFile(fileSystem, segment.path, (file) => {
    const end = scan(file, segment, options, visit);
    if (end < segment.base + file.size()) throw badRecord(segment, end);
  });
}

function recoverTail(
  { fileSystem, directory, countedThrough }: RecoveryOptions,
  last: { readonly file: LogFile; readonly segment: Segment; readonly logId: Buffer },
  options: ScanOptions,
  visit: (scanned: ScannedRecord) => void,
): { end: LogPosition; tornBytes: number } {
  const { file, segment } = last;
  let provenThrough = Math.max(countedThrough, segment.base + options.headerBytes);
  const end = scan(file, segment, options, (scanned) => {
    provenThrough = Math.max(provenThrough, scanned.record.syncedThrough);
    visit(scanned);
  });
  if (segment.base + file.size() > end) {
    if (countedThrough > end) throw badRecord(segment, end);
    for (const later of searchFrames(file, segment, options.salt, end)) {
      if (later.syncedThrough > end) throw badRecord(segment, end);
    }
  }
  if (countedThrough > end) {
    throw countersAhead(countedThrough, `${segment.path} ends at byte ${end}`);
  }
  const tornBytes = tornBytesFrom(file, end - segment.base);
  // Even if nothing is torn, the file's length may not be durable.
  file.truncate(end - segment.base);
  // Rewrite what no record proves durable: after a failed sync, the kernel may hold bytes in memory
  // as if they were on disk, and only another write makes it write them.
  rewrite({ fileSystem, directory, ...last, from: provenThrough, end });
  return { end, tornBytes };
}

/** The number of bytes from `offset` to the last one that is not zero. */
function tornBytesFrom(file: LogFile, offset: number): number {
  const piece = Buffer.allocUnsafe(1024 * 1024);
  let bytes = 0;
  for (let at = offset; ; at += piece.length) {
    const read = readFully(file, piece, at);
    const last = piece.subarray(0, read).findLastIndex((byte) => byte !== 0);
    if (last >= 0) bytes = at + last + 1 - offset;
    if (read < piece.length) return bytes;
  }
}

interface ScanOptions {
  readonly salt: number;
  readonly headerBytes: number;
  readonly acceptedDamage: ReadonlyMap<LogPosition, LogPosition>;
}

function scan(
  file: LogFile,
  segment: Segment,
  { salt, headerBytes, acceptedDamage }: ScanOptions,
  visit: (scanned: ScannedRecord) => void,
): LogPosition {
  let frames = scanFrames(file, segment, salt, segment.base + headerBytes);
  for (;;) {
    const next = frames.next();
    if (next.done !== true) {
      visit(next.value);
      continue;
    }
    const end = acceptedDamage.get(next.value);
    if (end === undefined || end > segment.base + file.size()) return next.value;
    frames = scanFrames(file, segment, salt, end);
  }
}

function countersAhead(countedThrough: LogPosition, fact: string): LogDamaged {
  return new LogDamaged(`The counters include the log up to byte ${countedThrough}, but ${fact}.`);
}

export function badHeader({ path }: Segment): LogDamaged {
  return new LogDamaged(`The header of ${path} is damaged or of another log.`);
}

/** `next` is the first segment after the gap. */
export function missingSegment(expectedBase: LogPosition, next: Segment): LogDamaged {
  return new LogDamaged(
    `The log has a gap: the file that begins at byte ${expectedBase} is missing, or too short, before ${next.path}.`,
  );
}

export function badRecord(segment: Segment, position: LogPosition): LogDamaged {
  return new LogDamaged(
    `The log is damaged: the record at byte ${position - segment.base} of ${segment.path} was stored durably, but does not match its checksum.`,
  );
}

/** There is no record at a position at which one was stored. */
export function noRecordAt(position: LogPosition): LogDamaged {
  return new LogDamaged(
    `The log is damaged: the record at byte ${position} was stored durably, but is missing or invalid.`,
  );
}
