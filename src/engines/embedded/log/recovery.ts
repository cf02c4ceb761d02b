import type { FileSystem, LogFile } from './file-system.ts';
import { scanFrames, searchFrames, type ScannedRecord } from './frame-scanner.ts';
import type { LogPosition } from './frame.ts';
import {
  createSegmentAgain,
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

/** What to do about segments that are gone, of which pipeline.db does not know what they counted. */
export const removedUnnotedHint =
  'If old segments were removed there (--keep-raw) by a version that did not note what they counted, or if pipeline.db was restored from a backup older than their removal, the counters are right as they are: put back the pipeline.db that was in use when they were removed, or leave all as it is, and do not rebuild.';

export class RemovedUnnoted extends Error {
  override readonly name = 'RemovedUnnoted';

  constructor(through: LogPosition) {
    super(
      `The log before byte ${through} is gone, and pipeline.db does not say what it counted. ${removedUnnotedHint}`,
    );
  }
}

interface RecoveryOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  /** The position up to which the counters have counted. */
  readonly countedThrough: LogPosition;
  /** Segments that end before this may have been removed. */
  readonly removedThrough: LogPosition;
  /** Damage that somebody has decided to do without: the ends of it, by where it begins. */
  readonly setAside: ReadonlyMap<LogPosition, LogPosition>;
  /** Called with the records that are read, in order: all behind that position, perhaps some before. */
  readonly visit: (scanned: ScannedRecord) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export interface RecoveredLog extends LogIdentity {
  readonly segments: readonly Segment[];
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
 * it was synced. Only segments that may hold uncounted records, and the last, are read. Nothing
 * is changed before all that is read is found sound, but that a recovery that was cut short is
 * made good.
 * @returns undefined where there is no log yet.
 * @throws {LogDamaged}
 */
export function recoverLog(options: RecoveryOptions): RecoveredLog | undefined {
  const { fileSystem, directory, countedThrough, removedThrough, setAside, visit } = options;
  const found = listSegments(fileSystem, directory);
  finishRewrite(fileSystem, directory, found);
  const leftOver = leftOverByRemoval(fileSystem, found, removedThrough);
  const segments = found.slice(leftOver.length);
  const last = segments.at(-1);
  if (last === undefined) {
    if (countedThrough === 0) return undefined;
    throw countersAhead(countedThrough, `${directory} holds no log`);
  }
  const first = segments[0] ?? last;
  if (countedThrough < first.base) {
    throw new LogDamaged(
      `The counters need the log from byte ${countedThrough} on, but it begins at byte ${first.base}: pipeline.db is missing or older than what was removed with --keep-raw.`,
    );
  }
  const isLastEmpty = holdsNoRecord(options, segments, last);
  const identity = checkHeaders(fileSystem, segments, isLastEmpty);
  if (identity === undefined) {
    if (countedThrough > 0) throw countersAhead(countedThrough, `${last.path} holds no record`);
    // Not even the first segment was finished, and nothing was ever stored.
    fileSystem.remove(last.path);
    return undefined;
  }
  const headerBytes = headerBytesOf(identity);
  const how = { salt: saltOfLog(identity.logId), headerBytes, setAside };
  const scanFrom = segmentOf(segments, Math.min(countedThrough, last.base)) ?? first;

  for (const segment of segments.slice(segments.indexOf(scanFrom), -1)) {
    scanSealedSegment(fileSystem, segment, how, visit);
  }
  for (const { path } of leftOver) fileSystem.remove(path);
  if (isLastEmpty) return { segments, ...identity, ...makeAgain(options, last, identity) };
  const file = fileSystem.open(last.path, 'read-write');
  try {
    const tail = recoverTail(options, { file, segment: last, ...identity }, how, visit);
    // A process that was killed may have removed segments and not synced that.
    fileSystem.syncDirectory(directory);
    return { segments, ...identity, file, ...tail };
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * The first segments, where one is missing behind them that may have been removed: its removal is
 * durable and theirs, before it, is not, since the sync of a directory failed.
 */
function leftOverByRemoval(
  fileSystem: FileSystem,
  segments: readonly Segment[],
  removedThrough: LogPosition,
): readonly Segment[] {
  let count = 0;
  let end: LogPosition | undefined;
  for (const [index, segment] of segments.entries()) {
    if (segment.base > removedThrough) break;
    if (end !== undefined && segment.base !== end) count = index;
    end = segment.base + withFile(fileSystem, segment, (file) => file.size());
  }
  return segments.slice(0, count);
}

/** Whether the last segment may be one whose creation was cut short: none holds a record then. */
function holdsNoRecord(
  { fileSystem, directory }: RecoveryOptions,
  segments: readonly Segment[],
  last: Segment,
): boolean {
  // Where the segments before it were removed, its creation had been completed.
  if (segments.length === 1 && last.base > 0) return false;
  const bytes = withFile(fileSystem, last, (file) => file.size());
  if (bytes > headerBytesMax) return false;
  const known = readLogIdentity(fileSystem, directory);
  // Where no header can be read, it may be one of either length: no record fits into the longer.
  return known === undefined || bytes <= headerBytesOf(known);
}

/**
 * Replaces a last segment that holds no record. Nothing proves that its header and its entry in
 * the directory are durable, and a sync would not do where one has failed before.
 */
function makeAgain(
  { fileSystem, directory, countedThrough, now }: RecoveryOptions,
  segment: Segment,
  identity: LogIdentity,
): { file: LogFile; end: LogPosition; tornBytes: number } {
  if (countedThrough > segment.base) {
    throw countersAhead(countedThrough, `${segment.path} holds no record`);
  }
  const header = { ...identity, createdAt: now() };
  const file = createSegmentAgain(fileSystem, directory, segment, header);
  return { file, end: segment.base + headerBytesOf(identity), tornBytes: 0 };
}

/**
 * Every header sound, of one log, and each segment beginning where the one before it ends.
 * The last may have no header yet if it is empty; returns undefined where no other is there.
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
      throw hole(expectedBase, segment);
    }
    withFile(fileSystem, segment, (file) => {
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

/** All of a segment was synced before the next one was begun: a bad record in it is damage. */
function scanSealedSegment(
  fileSystem: FileSystem,
  segment: Segment,
  how: ScanOptions,
  visit: (scanned: ScannedRecord) => void,
): void {
  withFile(fileSystem, segment, (file) => {
    const end = scan(file, segment, how, visit);
    if (end < segment.base + file.size()) throw badRecord(segment, end);
  });
}

function recoverTail(
  { fileSystem, directory, countedThrough }: RecoveryOptions,
  last: { readonly file: LogFile; readonly segment: Segment; readonly logId: Buffer },
  how: ScanOptions,
  visit: (scanned: ScannedRecord) => void,
): { end: LogPosition; tornBytes: number } {
  const { file, segment } = last;
  let provenThrough = Math.max(countedThrough, segment.base + how.headerBytes);
  const end = scan(file, segment, how, (scanned) => {
    provenThrough = Math.max(provenThrough, scanned.record.syncedThrough);
    visit(scanned);
  });
  if (segment.base + file.size() > end) {
    if (countedThrough > end) throw badRecord(segment, end);
    for (const later of searchFrames(file, segment, how.salt, end)) {
      if (later.syncedThrough > end) throw badRecord(segment, end);
    }
  }
  if (countedThrough > end) {
    throw countersAhead(countedThrough, `${segment.path} ends at byte ${end}`);
  }
  const tornBytes = bytesBeforeZeros(file, end - segment.base);
  // Also where nothing is torn: a length may be as unproven as bytes are.
  file.truncate(end - segment.base);
  // What no record proves to be durable is written again: after a failed sync the kernel may hold
  // such bytes in memory as if they were on the disk, and only another write makes it write them.
  rewrite({ fileSystem, directory, ...last, from: provenThrough, end });
  return { end, tornBytes };
}

/** How many bytes there are from `offset` on, without the zeros that were allocated ahead. */
function bytesBeforeZeros(file: LogFile, offset: number): number {
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
  readonly setAside: ReadonlyMap<LogPosition, LogPosition>;
}

function scan(
  file: LogFile,
  segment: Segment,
  { salt, headerBytes, setAside }: ScanOptions,
  visit: (scanned: ScannedRecord) => void,
): LogPosition {
  let frames = scanFrames(file, segment, salt, segment.base + headerBytes);
  for (;;) {
    const next = frames.next();
    if (next.done !== true) {
      visit(next.value);
      continue;
    }
    const end = setAside.get(next.value);
    if (end === undefined || end > segment.base + file.size()) return next.value;
    frames = scanFrames(file, segment, salt, end);
  }
}

function countersAhead(countedThrough: LogPosition, fact: string): LogDamaged {
  return new LogDamaged(
    `The counters hold what the log had up to byte ${countedThrough}, but ${fact}.`,
  );
}

export function badHeader({ path }: Segment): LogDamaged {
  return new LogDamaged(`The header of ${path} is damaged or of another log.`);
}

/** `next` is the segment that is there instead of the one that should be. */
export function hole(expectedBase: LogPosition, next: Segment): LogDamaged {
  return new LogDamaged(
    `The log has a hole: the file that begins at byte ${expectedBase} is missing or cut short before ${next.path}.`,
  );
}

export function badRecord(segment: Segment, position: LogPosition): LogDamaged {
  return new LogDamaged(
    `The log is damaged: the record at byte ${position - segment.base} of ${segment.path} does not match its checksum, though it was safely stored.`,
  );
}

/** Where records were safely stored, none is found. */
export function noRecordAt(position: LogPosition): LogDamaged {
  return new LogDamaged(
    `The log is damaged: no sound record stands at byte ${position}, though it was safely stored.`,
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
