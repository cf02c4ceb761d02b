import { join } from 'node:path';
import { crc32 } from 'node:zlib';

import { withFile, type FileSystem, type LogFile } from './file-system.ts';
import { readPosition, writePosition, type LogPosition } from './frame.ts';
import { readFully, readSegmentHeader, segmentOf, writeFully, type Segment } from './segment.ts';

/*
 * The copy file, little-endian:
 *  0  8 bytes magic   8  u32 CRC-32 of the copied bytes, then of bytes 16 to 48 of this header
 * 16  16 bytes log id 32  u48 from   40  u48 length of the copied bytes, which follow the header
 */
const magic = Buffer.from('DPCOPY1\n', 'latin1');
const headerBytes = 48;
const pieceBytes = 1024 * 1024;

const copyName = 'rewrite.copy';
/** A copy of the copy file, which then replaces it. */
const secondName = 'rewrite.copy.new';

interface RewriteOptions {
  readonly fileSystem: FileSystem;
  readonly directory: string;
  readonly logId: Buffer;
  readonly file: LogFile;
  readonly segment: Segment;
  readonly from: LogPosition;
  readonly end: LogPosition;
}

/**
 * Writes bytes of a segment again, in place, and syncs the file. These bytes may be acknowledged,
 * and a power failure during a write may leave garbage: so a copy of them is made durable first,
 * and removed afterwards. The caller syncs the directory.
 */
export function rewrite({
  fileSystem,
  directory,
  logId,
  file,
  segment,
  from,
  end,
}: RewriteOptions): void {
  if (from >= end) {
    file.sync();
    return;
  }
  const path = join(directory, copyName);
  const copy = fileSystem.open(path, 'create');
  try {
    let checksum = 0;
    for (const { bytes, at } of pieces(file, from - segment.base, end - segment.base)) {
      checksum = crc32(bytes, checksum);
      writeFully(copy, bytes, headerBytes + at - (from - segment.base));
    }
    writeFully(copy, headerOf(logId, from, end - from, checksum), 0);
    copy.sync();
    fileSystem.syncDirectory(directory);
    for (const { bytes, at } of pieces(file, from - segment.base, end - segment.base)) {
      writeFully(file, bytes, at);
    }
    file.sync();
  } finally {
    copy.close();
  }
  fileSystem.remove(path);
}

/**
 * Completes an interrupted `rewrite` and removes the copy. This is safe however old the copy is,
 * because bytes of the log never change.
 */
export function finishRewrite(
  fileSystem: FileSystem,
  directory: string,
  segments: readonly Segment[],
): void {
  const found = fileSystem.list(directory);
  if (found.includes(secondName)) fileSystem.remove(join(directory, secondName));
  if (!found.includes(copyName)) return;
  const path = join(directory, copyName);
  withFile(fileSystem, path, (copy) => {
    const header = readHeader(copy);
    // An incomplete copy was never used: the segment is untouched.
    if (header === undefined) return;
    writeAnew(fileSystem, directory, copy);
    applyCopy(fileSystem, copy, header, segments);
  });
  fileSystem.remove(path);
}

/**
 * Makes a copy durable that this process found: its sync may have failed, after which the kernel shows
 * it as if it were on the disk.
 */
function writeAnew(fileSystem: FileSystem, directory: string, copy: LogFile): void {
  const path = join(directory, secondName);
  const second = fileSystem.open(path, 'create');
  try {
    for (const { bytes, at } of pieces(copy, 0, copy.size())) writeFully(second, bytes, at);
    second.sync();
  } finally {
    second.close();
  }
  fileSystem.rename(path, join(directory, copyName));
  fileSystem.syncDirectory(directory);
}

interface CopyHeader {
  readonly logId: Buffer;
  readonly from: LogPosition;
  readonly length: number;
}

function applyCopy(
  fileSystem: FileSystem,
  copy: LogFile,
  { logId, from, length }: CopyHeader,
  segments: readonly Segment[],
): void {
  const segment = segmentOf(segments, from);
  if (segment === undefined) return;
  const file = fileSystem.open(segment.path, 'read-write');
  try {
    const offset = from - segment.base;
    const isOfThisLog = readSegmentHeader(file, segment)?.logId.equals(logId) === true;
    // The file may be shorter than the copied range, since its length was not durable either.
    if (!isOfThisLog || file.size() < offset) return;
    for (const { bytes, at } of pieces(copy, headerBytes, headerBytes + length)) {
      writeFully(file, bytes, at - headerBytes + offset);
    }
    file.sync();
  } finally {
    file.close();
  }
}

function headerOf(logId: Buffer, from: LogPosition, length: number, checksum: number): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.set(magic);
  header.set(logId, 16);
  writePosition(header, from, 32);
  writePosition(header, length, 40);
  header.writeUInt32LE(crc32(header.subarray(16), checksum), 8);
  return header;
}

/** Undefined if the copy is incomplete. */
function readHeader(copy: LogFile): CopyHeader | undefined {
  const header = Buffer.alloc(headerBytes);
  if (readFully(copy, header, 0) < headerBytes) return undefined;
  if (!header.subarray(0, magic.length).equals(magic)) return undefined;
  const [from, length] = [readPosition(header, 32), readPosition(header, 40)];
  if (copy.size() < headerBytes + length) return undefined;
  let checksum = 0;
  for (const { bytes } of pieces(copy, headerBytes, headerBytes + length)) {
    checksum = crc32(bytes, checksum);
  }
  if (crc32(header.subarray(16), checksum) !== header.readUInt32LE(8)) return undefined;
  return { logId: header.subarray(16, 32), from, length };
}

/** The bytes of a file between two offsets; each piece is valid until the next one is requested. */
function* pieces(file: LogFile, from: number, to: number) {
  const buffer = Buffer.allocUnsafe(Math.min(pieceBytes, to - from));
  for (let at = from; at < to; at += buffer.length) {
    const bytes = buffer.subarray(0, Math.min(buffer.length, to - at));
    readFully(file, bytes, at);
    yield { bytes, at };
  }
}
