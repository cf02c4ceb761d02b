import { basename, join } from 'node:path';
import { crc32 } from 'node:zlib';

import { asWritten } from '../../../domain/day.ts';
import { withFile, type FileSystem, type LogFile } from './file-system.ts';
import { readPosition, writePosition, type LogPosition } from './frame.ts';

/** A file of the log. Its first byte, where its header begins, has the position `base`. */
export interface Segment {
  readonly base: LogPosition;
  readonly path: string;
}

/** The properties that all segments of a log share. */
export interface LogIdentity {
  /** The log's id, 16 random bytes. */
  readonly logId: Buffer;
  /** The day rule, as `dayRule` names it. */
  readonly dayZone: string;
}

interface SegmentHeader extends LogIdentity {
  /** Milliseconds since 1970. */
  readonly createdAt: number;
}

/** A segment, and its creation by the wall clock, in milliseconds since 1970. */
export interface SegmentStart {
  readonly base: LogPosition;
  readonly createdAt: number;
}

/*
 * A segment header, little-endian:
 *  0  8 bytes magic   8  u32 CRC-32 of all that follows      12  u32 version
 * 16  16 bytes log id 32  u48 base  40  u48 created at, ms    48  16 bytes zero
 *
 * Version 2, for a log with a day zone:
 * 48  u8 length of the day zone, and the zone in ASCII         112  16 bytes zero
 *
 * Releases that only know version 1 thus refuse such a log instead of counting it on other days.
 */
const magic = Buffer.from('DPSEGM1\n', 'latin1');
const version = 1;
const zonedVersion = 2;

const plainHeaderBytes = 64;
const zonedHeaderBytes = 128;
export const headerBytesMax = zonedHeaderBytes;
const zoneAt = 48;
/** The longest name of the IANA time zone database has 32 bytes. */
const dayZoneBytesMax = 63;

/** The length of each segment's header, after which its records begin. */
export function headerBytesOf({ dayZone }: Pick<LogIdentity, 'dayZone'>): number {
  return dayZone === asWritten ? plainHeaderBytes : zonedHeaderBytes;
}

const nameForm = /^(\d{16})\.log$/;

export function segmentAt(directory: string, base: LogPosition): Segment {
  return { base, path: join(directory, `${String(base).padStart(16, '0')}.log`) };
}

/** The segments in a directory, by base. Ignores files with other names. */
export function listSegments(fileSystem: FileSystem, directory: string): Segment[] {
  return fileSystem
    .list(directory)
    .flatMap((name) => nameForm.exec(name)?.[1] ?? [])
    .map((base) => segmentAt(directory, Number(base)))
    .sort((a, b) => a.base - b.base);
}

/** The one of `segments`, sorted by base, that contains the position. */
export function segmentOf(
  segments: readonly Segment[],
  position: LogPosition,
): Segment | undefined {
  return segments.findLast(({ base }) => base <= position);
}

/**
 * Creates a segment with its header, and makes both durable before the first record is written: so
 * a bad header in a longer file is damage, not an interrupted creation.
 */
export function createSegment(
  fileSystem: FileSystem,
  directory: string,
  { base, path }: Segment,
  header: SegmentHeader,
): LogFile {
  const file = createFile(fileSystem, path, headerOf(base, header));
  fileSystem.syncDirectory(directory);
  return file;
}

/**
 * Replaces a segment by a new, empty one. The old file stays until the new one is durable, because
 * the first segment holds the log's id, which must not be missing at any time.
 */
export function replaceSegment(
  fileSystem: FileSystem,
  directory: string,
  { base, path }: Segment,
  header: SegmentHeader,
): LogFile {
  const temporary = `${path}.new`;
  if (fileSystem.list(directory).includes(basename(temporary))) fileSystem.remove(temporary);
  const file = createFile(fileSystem, temporary, headerOf(base, header));
  fileSystem.rename(temporary, path);
  fileSystem.syncDirectory(directory);
  return file;
}

function createFile(fileSystem: FileSystem, path: string, header: Buffer): LogFile {
  const file = fileSystem.open(path, 'create');
  writeFully(file, header, 0);
  file.sync();
  return file;
}

export function headerOf(base: LogPosition, { logId, createdAt, dayZone }: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(headerBytesOf({ dayZone }));
  bytes.set(magic);
  bytes.writeUInt32LE(dayZone === asWritten ? version : zonedVersion, 12);
  bytes.set(logId, 16);
  writePosition(bytes, base, 32);
  writePosition(bytes, createdAt, 40);
  if (dayZone !== asWritten) {
    if (dayZone.length > dayZoneBytesMax) {
      throw new Error(`day zone ${dayZone} is longer than ${dayZoneBytesMax} bytes`);
    }
    bytes.writeUInt8(bytes.write(dayZone, zoneAt + 1, 'latin1'), zoneAt);
  }
  bytes.writeUInt32LE(crc32(bytes.subarray(12)), 8);
  return bytes;
}

/** The header; undefined if it is invalid or of another position. */
export function readSegmentHeader(file: LogFile, { base }: Segment): SegmentHeader | undefined {
  const read = Buffer.alloc(zonedHeaderBytes);
  return decodeSegmentHeader(read.subarray(0, readFully(file, read, 0)), base);
}

/**
 * The header of a segment; undefined if it is invalid or of another position.
 * @param read the first `headerBytesMax` bytes of the segment, or all of them if it is shorter
 */
export function decodeSegmentHeader(read: Buffer, base: LogPosition): SegmentHeader | undefined {
  if (read.length < plainHeaderBytes) return undefined;
  const isZoned = read.readUInt32LE(12) === zonedVersion;
  const bytes = read.subarray(0, isZoned ? zonedHeaderBytes : plainHeaderBytes);
  if (isZoned && bytes.length < zonedHeaderBytes) return undefined;
  if (!bytes.subarray(0, magic.length).equals(magic)) return undefined;
  if (crc32(bytes.subarray(12)) !== bytes.readUInt32LE(8)) return undefined;
  if (!isZoned && bytes.readUInt32LE(12) !== version) return undefined;
  if (readPosition(bytes, 32) !== base) return undefined;
  const zoneEnd = zoneAt + 1 + bytes.readUInt8(zoneAt);
  return {
    logId: bytes.subarray(16, 32),
    createdAt: readPosition(bytes, 40),
    dayZone: isZoned ? bytes.toString('latin1', zoneAt + 1, zoneEnd) : asWritten,
  };
}

/** The identity of the log in a directory; undefined if none of its headers is valid. */
export function readLogIdentity(
  fileSystem: FileSystem,
  directory: string,
): LogIdentity | undefined {
  for (const segment of listSegments(fileSystem, directory)) {
    const header = withFile(fileSystem, segment.path, (file) => readSegmentHeader(file, segment));
    if (header !== undefined) return header;
  }
  return undefined;
}

/** The initial value of the checksums of a log's frames. Clients cannot know it. */
export function saltOfLog(logId: Uint8Array): number {
  return crc32(logId);
}

/** Writes all of `bytes`, in as many writes as necessary. */
export function writeFully(file: LogFile, bytes: Uint8Array, offset: number): void {
  let written = 0;
  while (written < bytes.length) {
    const count = file.write(bytes.subarray(written), offset + written);
    if (count === 0) throw new Error('the file system wrote nothing and gave no reason');
    written += count;
  }
}

/** Fills `target` from the file; returns the number of bytes read, fewer only at the file's end. */
export function readFully(file: LogFile, target: Uint8Array, offset: number): number {
  let read = 0;
  while (read < target.length) {
    const count = file.read(target.subarray(read), offset + read);
    if (count === 0) break;
    read += count;
  }
  return read;
}
