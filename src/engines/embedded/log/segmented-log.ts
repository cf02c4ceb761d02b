import { randomFillSync } from 'node:crypto';

import { batchIdAt, placeMax } from '../../../domain/batch-id.ts';
import { asWritten } from '../../../domain/day.ts';
import type { FileSystem, LogFile } from './file-system.ts';
import type { ScannedRecord } from './frame-scanner.ts';
import type { SegmentStart } from '../store/log-age.ts';
import {
  encodeFrame,
  frameHeaderBytes,
  frameLength,
  type LogPosition,
  type LogRecord,
} from './frame.ts';
import { recoverLog, type RecoveredLog } from './recovery.ts';
import { randomBytes } from '../random-bytes.ts';
import {
  createSegment,
  headerBytesOf,
  readSegmentHeader,
  saltOfLog,
  segmentAt,
  writeFully,
  type Segment,
} from './segment.ts';

/** Records staged beyond this are written, not yet synced, before the commit. */
const stagingBytes = 4 * 1024 * 1024;

/** A commit that grows a file by more gains less by zeros ahead of it than they cost. */
const smallCommitBytes = 64 * 1024;

const noRoomCodes = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

export interface LogOptions {
  readonly directory: string;
  readonly fileSystem: FileSystem;
  /** A segment is closed before it grows beyond this, in bytes. */
  readonly segmentBytes: number;
  /**
   * So many zeros are written ahead of small commits: a sync over blocks that the file has already
   * costs half of one that makes it grow. None by default.
   */
  readonly allocateBytes?: number;
  /** The position through which the counters have counted. */
  readonly countedThrough: LogPosition;
  /** The day rule of a log that is made; `as-written` by default. One that is there keeps its own. */
  readonly dayZone?: string;
  /** Segments that end before this may have been removed. None by default. */
  readonly removedThrough?: LogPosition;
  /** Damage that somebody has decided to do without: the ends of it, by where it begins. */
  readonly setAside?: ReadonlyMap<LogPosition, LogPosition>;
  /** Called while opening with each record behind that position, in order. */
  readonly onUncounted?: (scanned: ScannedRecord) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export type RecordDraft = Omit<LogRecord, 'position' | 'syncedThrough' | 'batchId'>;

export interface Staged {
  readonly batchId: Uint8Array;
  /** The end of the record before, the place of this one, and its own end. */
  readonly previousEnd: LogPosition;
  readonly position: LogPosition;
  readonly end: LogPosition;
}

/**
 * The append-only log, for its one writer. Records are staged, then committed together: one sync
 * covers all that gathered. After any failure the log takes nothing more (a failed sync is never
 * tried again, since nothing can be known after it); what it acknowledged stays true.
 */
export class SegmentedLog {
  readonly logId: Buffer;
  readonly dayZone: string;
  /** Bytes of a torn tail that were cut off when the log was opened. */
  readonly tornBytes: number;
  /** When the last batch came of those found at the opening, if there was one; ms since 1970. */
  readonly lastReceivedAt: number | undefined;
  readonly #options: LogOptions;
  readonly #salt: number;
  readonly #headerBytes: number;
  readonly #segments: Segment[];
  #file: LogFile;
  #staging = Buffer.allocUnsafe(stagingBytes);
  #stagedBytes = 0;
  /** Where staged bytes will go, and the end of what is staged and of what is synced. */
  #writtenEnd: LogPosition;
  #end: LogPosition;
  #durableEnd: LogPosition;
  /** Length of the last segment's file as far as it is known to be allocated. */
  #allocatedBytes = 0;
  #zeros: Buffer | undefined;
  #isSyncing = false;
  #failure: unknown;

  /** @throws {LogDamaged}, or the file system's error. */
  static open(options: LogOptions): SegmentedLog {
    const {
      fileSystem,
      directory,
      onUncounted,
      setAside = new Map(),
      removedThrough = 0,
      dayZone = asWritten,
    } = options;
    let lastReceivedAt: number | undefined;
    const visit = (scanned: ScannedRecord) => {
      const { originId, receivedAt } = scanned.record;
      // A batch from another installation was received there.
      if (originId === undefined) lastReceivedAt = receivedAt;
      if (scanned.end > options.countedThrough) onUncounted?.(scanned);
    };
    const recovered = recoverLog({ ...options, setAside, removedThrough, visit });
    if (recovered !== undefined) return new SegmentedLog(options, recovered, lastReceivedAt);
    const identity = { logId: randomFillSync(Buffer.alloc(16)), dayZone };
    const segment = segmentAt(directory, 0);
    const header = { ...identity, createdAt: options.now() };
    const file = createSegment(fileSystem, directory, segment, header);
    const end = headerBytesOf(identity);
    return new SegmentedLog(options, { segments: [segment], ...identity, file, end, tornBytes: 0 });
  }

  private constructor(options: LogOptions, recovered: RecoveredLog, lastReceivedAt?: number) {
    this.#options = options;
    this.lastReceivedAt = lastReceivedAt;
    this.logId = recovered.logId;
    this.dayZone = recovered.dayZone;
    this.#headerBytes = headerBytesOf(recovered);
    this.tornBytes = recovered.tornBytes;
    this.#salt = saltOfLog(recovered.logId);
    this.#segments = [...recovered.segments];
    this.#file = recovered.file;
    this.#writtenEnd = this.#end = this.#durableEnd = recovered.end;
  }

  /** The end of the last record that is durable; 0 before the first. */
  get durableEnd(): LogPosition {
    return this.#recordEnd(this.#durableEnd);
  }

  /** Where the log begins: what was before is removed. */
  get begin(): LogPosition {
    return this.#segments[0]?.base ?? 0;
  }

  /** Why the log takes nothing more, if it does not. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Bytes on disk and in staging. */
  get bytes(): number {
    return this.#end - (this.#segments[0]?.base ?? 0);
  }

  /** Puts a record in line. It is durable once `durableEnd` has reached its end. */
  stage(draft: RecordDraft): Staged {
    return this.#guard(() => {
      const length = frameLength(draft);
      const previousEnd = this.#recordEnd(this.#end);
      if (this.#end + length > placeMax) throw new Error('the log is full: 256 TiB');
      if (!this.#fits(length)) {
        this.#commitStaged();
        this.#rotate();
      }
      const position = this.#end;
      const batchId = batchIdAt(position, randomBytes(10));
      const record = { ...draft, position, syncedThrough: this.#durableEnd, batchId };
      this.#encode(record, length);
      this.#end += length;
      return { batchId, previousEnd, position, end: this.#end };
    });
  }

  /** Makes all that is staged durable. */
  commit(): void {
    this.#guard(() => this.#commitStaged());
  }

  /**
   * Makes all that is staged by now durable in the background; `done` is called with null or why
   * it failed. Until then, only what `hasRoomFor` may be staged, and nothing else may be called.
   */
  startCommit(done: (error: unknown) => void): void {
    this.#guard(() => {
      this.#write();
      this.#allocateAhead();
      this.#isSyncing = true;
      const end = this.#end;
      this.#file.startSync((error) => {
        this.#isSyncing = false;
        if (error === null) this.#durableEnd = end;
        else this.#failure ??= error;
        done(error);
      });
    });
  }

  /** Whether a record with so many bytes of body and caller can be staged without a new segment. */
  hasRoomFor(bytes: number): boolean {
    return this.#fits(frameHeaderBytes + bytes);
  }

  /** Where the log begins when the segments before a position are removed; never behind the last. */
  removableThrough(through: LogPosition): LogPosition {
    return this.#segments.findLast(({ base }) => base <= through)?.base ?? this.begin;
  }

  /** The segments, oldest first, and when each was begun. Reads their headers. */
  segmentStarts(): SegmentStart[] {
    return this.#segments.map((segment) => ({
      base: segment.base,
      createdAt: this.#createdAt(segment),
    }));
  }

  /** Removes whole segments, oldest first, that lie before `through`; never the last. Returns how many. */
  removeSegments(through: LogPosition): number {
    const { fileSystem, directory } = this.#options;
    const keptFrom = this.removableThrough(through);
    let removed = 0;
    for (;;) {
      const [oldest, next] = this.#segments;
      if (oldest === undefined || next === undefined || next.base > keptFrom) break;
      fileSystem.remove(oldest.path);
      this.#segments.shift();
      // One by one: a power failure must not bring one back without those that follow it.
      fileSystem.syncDirectory(directory);
      removed++;
    }
    return removed;
  }

  close(): void {
    if (this.#failure === undefined) this.#cutAllocated();
    this.#file.close();
  }

  /** A segment without records ends, as far as records go, where the one before it ended. */
  #recordEnd(position: LogPosition): LogPosition {
    const base = this.#lastBase();
    return position === base + this.#headerBytes ? base : position;
  }

  #fits(frameBytes: number): boolean {
    const usedBytes = this.#segmentUsed();
    return usedBytes === 0 || usedBytes + frameBytes <= this.#room();
  }

  #segmentUsed(): number {
    return this.#end - this.#lastBase() - this.#headerBytes;
  }

  #room(): number {
    return this.#options.segmentBytes - this.#headerBytes;
  }

  #lastBase(): LogPosition {
    return this.#segments.at(-1)?.base ?? 0;
  }

  #encode(record: LogRecord, length: number): void {
    if (this.#stagedBytes + length > stagingBytes) this.#write();
    if (length > stagingBytes) {
      const frame = Buffer.allocUnsafe(length);
      encodeFrame(record, this.#salt, frame, 0);
      writeFully(this.#file, frame, this.#writtenEnd - this.#lastBase());
      this.#writtenEnd += length;
      return;
    }
    encodeFrame(record, this.#salt, this.#staging, this.#stagedBytes);
    this.#stagedBytes += length;
  }

  #write(): void {
    if (this.#stagedBytes === 0) return;
    const bytes = this.#staging.subarray(0, this.#stagedBytes);
    writeFully(this.#file, bytes, this.#writtenEnd - this.#lastBase());
    this.#writtenEnd += this.#stagedBytes;
    this.#stagedBytes = 0;
  }

  #commitStaged(): void {
    if (this.#isSyncing) throw new Error('a sync is under way');
    if (this.#end === this.#durableEnd) return;
    this.#write();
    this.#allocateAhead();
    this.#file.sync();
    this.#durableEnd = this.#end;
  }

  #allocateAhead(): void {
    const { allocateBytes = 0, segmentBytes } = this.#options;
    const usedBytes = this.#writtenEnd - this.#lastBase();
    const grownBytes = usedBytes - this.#allocatedBytes;
    if (allocateBytes === 0 || grownBytes <= 0) return;
    this.#allocatedBytes = usedBytes;
    if (grownBytes > smallCommitBytes) return;
    const bytes = Math.min(allocateBytes, segmentBytes - usedBytes);
    if (bytes <= 0) return;
    try {
      this.#zeros ??= Buffer.alloc(allocateBytes);
      writeFully(this.#file, this.#zeros.subarray(0, bytes), usedBytes);
      this.#allocatedBytes = usedBytes + bytes;
    } catch (error) {
      // The disk is as good as full; what is left of it is for records and counters.
      if (!noRoomCodes.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
      this.#file.truncate(usedBytes);
      this.#allocatedBytes = Number.POSITIVE_INFINITY;
    }
  }

  /** Takes back what was allocated and not used: a file that is closed ends with its last record. */
  #cutAllocated(): void {
    const usedBytes = this.#writtenEnd - this.#lastBase();
    if (this.#file.size() > usedBytes) this.#file.truncate(usedBytes);
  }

  /** Begins the next segment. Its header takes positions too, so that file and position agree. */
  #rotate(): void {
    const { fileSystem, directory, now } = this.#options;
    const segment = segmentAt(directory, this.#end);
    const header = { logId: this.logId, dayZone: this.dayZone, createdAt: now() };
    if (this.#allocatedBytes > 0) {
      // Durable before the next one is: that one begins where this one ends.
      this.#cutAllocated();
      this.#file.sync();
      this.#allocatedBytes = 0;
    }
    const file = createSegment(fileSystem, directory, segment, header);
    this.#file.close();
    this.#file = file;
    this.#segments.push(segment);
    this.#writtenEnd = this.#end = this.#durableEnd = segment.base + this.#headerBytes;
  }

  #createdAt(segment: Segment): number {
    const file = this.#options.fileSystem.open(segment.path, 'read');
    try {
      return readSegmentHeader(file, segment)?.createdAt ?? Number.POSITIVE_INFINITY;
    } finally {
      file.close();
    }
  }

  #guard<T>(act: () => T): T {
    if (this.#failure !== undefined) throw this.#failure as Error;
    try {
      return act();
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }
}
