import { randomFillSync } from 'node:crypto';

import { batchIdAtPosition, positionMax } from '../../../domain/batch-id.ts';
import { asWritten } from '../../../domain/day.ts';
import { withFile, type FileSystem, type LogFile } from './file-system.ts';
import type { ScannedRecord } from './frame-scanner.ts';
import {
  encodeFrame,
  encodeHead,
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
  type SegmentStart,
} from './segment.ts';

/** Staged records are written, but not synced, once they exceed this number of bytes. */
const stagingBytes = 4 * 1024 * 1024;

/** For commits that write more bytes than this, allocating ahead costs more than it saves. */
const smallCommitBytes = 64 * 1024;

const noRoomCodes = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

export interface LogOptions {
  readonly directory: string;
  readonly fileSystem: FileSystem;
  /** Maximum size of a segment in bytes, unless a single record is larger. */
  readonly segmentBytes: number;
  /**
   * Bytes of zeros written ahead of small commits: a sync within the file's length costs half as much
   * as one that extends it. 0 by default.
   */
  readonly allocateBytes?: number;
  /**
   * Longer bodies are not staged, but written at once from their own memory. 32 KiB by default:
   * above that, another write costs less than a copy.
   */
  readonly stagedBodyBytesMax?: number;
  /** The log is counted up to this position. */
  readonly countedThrough: LogPosition;
  /** The day rule of a new log; `as-written` by default. An existing log keeps its own. */
  readonly dayZone?: string;
  /** Retention may have removed segments that end at or before this. 0 by default. */
  readonly removedThrough?: LogPosition;
  /** Damaged ranges that an operator has accepted: their ends by their beginnings. */
  readonly acceptedDamage?: ReadonlyMap<LogPosition, LogPosition>;
  /** Called while opening with each record after `countedThrough`, in order. */
  readonly onUncounted?: (scanned: ScannedRecord) => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export type RecordDraft = Omit<LogRecord, 'position' | 'syncedThrough' | 'batchId'>;

export interface Staged {
  readonly batchId: Uint8Array;
  /** The end of the record before it; the record begins at `position` and ends at `end`. */
  readonly previousEnd: LogPosition;
  readonly position: LogPosition;
  readonly end: LogPosition;
}

/**
 * The append-only log, for its only writer. Records are staged, then committed together with one
 * sync. After any failure the log accepts no more records: a failed sync is never retried, because
 * the kernel may report success although the data is lost. Committed records stay durable.
 */
export class SegmentedLog {
  readonly logId: Buffer;
  readonly dayZone: string;
  /** Bytes of a torn tail that were cut off when the log was opened. */
  readonly tornBytes: number;
  /** Receipt of the last batch that opening read, if any; milliseconds since 1970. */
  readonly lastReceivedAt: number | undefined;
  readonly #options: LogOptions;
  readonly #salt: number;
  readonly #headerBytes: number;
  readonly #segments: Segment[];
  #file: LogFile;
  #staging = Buffer.allocUnsafe(stagingBytes);
  #stagedBytes = 0;
  /** The ends of the written, the staged and the synced records. */
  #writtenEnd: LogPosition;
  #end: LogPosition;
  #durableEnd: LogPosition;
  /** Known allocated length of the last segment's file, in bytes. */
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
      acceptedDamage = new Map(),
      removedThrough = 0,
      dayZone = asWritten,
    } = options;
    let lastReceivedAt: number | undefined;
    const visit = (scanned: ScannedRecord) => {
      const { originId, receivedAt } = scanned.record;
      // A replayed batch was received elsewhere.
      if (originId === undefined) lastReceivedAt = receivedAt;
      if (scanned.end > options.countedThrough) onUncounted?.(scanned);
    };
    const recovered = recoverLog({ ...options, acceptedDamage, removedThrough, visit });
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

  /** The end of the last durable record; 0 before the first. */
  get durableEnd(): LogPosition {
    return this.#recordEnd(this.#durableEnd);
  }

  /** The position at which the log begins; everything before it has been removed. */
  get begin(): LogPosition {
    return this.#segments[0]?.base ?? 0;
  }

  /** The error after which the log accepts no more records. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Bytes on disk and staged. */
  get bytes(): number {
    return this.#end - (this.#segments[0]?.base ?? 0);
  }

  /** Stages a record. It is durable once `durableEnd` has reached its end. */
  stage(draft: RecordDraft): Staged {
    return this.#guard(() => {
      const length = frameLength(draft);
      const previousEnd = this.#recordEnd(this.#end);
      if (this.#end + length > positionMax)
        throw new Error('the log has reached its limit, 256 TiB');
      if (!this.#fits(length)) {
        this.#commitStaged();
        this.#rotate();
      }
      const position = this.#end;
      const batchId = batchIdAtPosition(position, randomBytes(10));
      const record = { ...draft, position, syncedThrough: this.#durableEnd, batchId };
      this.#encode(record, length);
      this.#end += length;
      return { batchId, previousEnd, position, end: this.#end };
    });
  }

  /** Makes all staged records durable. */
  commit(): void {
    this.#guard(() => this.#commitStaged());
  }

  /**
   * Makes all staged records durable in the background; `done` is called with the error or null.
   * Until then, the caller may only stage records for which `hasRoomFor` is true.
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

  /** Whether a record whose body and caller have `bytes` in sum fits into the current segment. */
  hasRoomFor(bytes: number): boolean {
    return this.#fits(frameHeaderBytes + bytes);
  }

  /** Where the log would begin after `removeSegments(through)`. */
  removableThrough(through: LogPosition): LogPosition {
    return this.#segments.findLast(({ base }) => base <= through)?.base ?? this.begin;
  }

  /** The segments, oldest first. Reads their headers. */
  segmentStarts(): SegmentStart[] {
    const { fileSystem } = this.#options;
    return this.#segments.map((segment) => {
      const header = withFile(fileSystem, segment.path, (file) => readSegmentHeader(file, segment));
      return { base: segment.base, createdAt: header?.createdAt ?? Number.POSITIVE_INFINITY };
    });
  }

  /** Removes the segments before `through`, oldest first, never the last. Returns their number. */
  removeSegments(through: LogPosition): number {
    const { fileSystem, directory } = this.#options;
    const keptFrom = this.removableThrough(through);
    let removed = 0;
    for (;;) {
      const [oldest, next] = this.#segments;
      if (oldest === undefined || next === undefined || next.base > keptFrom) break;
      fileSystem.remove(oldest.path);
      this.#segments.shift();
      // Sync after each removal: a power failure must not restore a segment without its successors.
      fileSystem.syncDirectory(directory);
      removed++;
    }
    return removed;
  }

  close(): void {
    if (this.#failure === undefined) this.#trimAllocated();
    this.#file.close();
  }

  /** Where the last record ends: in a segment without records, at the end of the segment before it. */
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
    const { body } = record;
    const { stagedBodyBytesMax = 32 * 1024 } = this.#options;
    if (body.length <= stagedBodyBytesMax && this.#stagedBytes + length <= stagingBytes) {
      this.#stagedBytes += encodeFrame(record, this.#salt, this.#staging, this.#stagedBytes);
      return;
    }
    const head = Buffer.allocUnsafe(length - body.length);
    encodeHead(record, this.#salt, head, 0);
    this.#write();
    this.#append(head);
    this.#append(body);
  }

  #write(): void {
    if (this.#stagedBytes === 0) return;
    this.#append(this.#staging.subarray(0, this.#stagedBytes));
    this.#stagedBytes = 0;
  }

  #append(bytes: Uint8Array): void {
    writeFully(this.#file, bytes, this.#writtenEnd - this.#lastBase());
    this.#writtenEnd += bytes.length;
  }

  #commitStaged(): void {
    if (this.#isSyncing) throw new Error('commit during a background sync');
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
      // The disk is nearly full: leave the rest to records and counters.
      if (!noRoomCodes.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
      this.#file.truncate(usedBytes);
      this.#allocatedBytes = Number.POSITIVE_INFINITY;
    }
  }

  /** Truncates unused allocated bytes, so that a closed segment ends with its last record. */
  #trimAllocated(): void {
    const usedBytes = this.#writtenEnd - this.#lastBase();
    if (this.#file.size() > usedBytes) this.#file.truncate(usedBytes);
  }

  /** Starts the next segment. Its header has positions, too, so that offsets and positions agree. */
  #rotate(): void {
    const { fileSystem, directory, now } = this.#options;
    const segment = segmentAt(directory, this.#end);
    const header = { logId: this.logId, dayZone: this.dayZone, createdAt: now() };
    if (this.#allocatedBytes > 0) {
      // The next segment begins where this one ends, so this length must be durable first.
      this.#trimAllocated();
      this.#file.sync();
      this.#allocatedBytes = 0;
    }
    const file = createSegment(fileSystem, directory, segment, header);
    this.#file.close();
    this.#file = file;
    this.#segments.push(segment);
    this.#writtenEnd = this.#end = this.#durableEnd = segment.base + this.#headerBytes;
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
