import { crc32 } from 'node:zlib';

import type { BatchId } from '../../../domain/batch-id.ts';
import { fromRanges, toRanges, type Ranges } from '../../../domain/index-ranges.ts';
import type { ContentEncoding } from '../../../pipeline/ports.ts';
import { copyBytes } from './copy-bytes.ts';

/**
 * An offset in the log in bytes, counted over all its segments. Identifies a record and orders
 * records. Below 2^48.
 */
export type LogPosition = number;

/** A batch as the log stores it. Caller and key have at most 255 bytes each. */
export interface LogRecord {
  readonly position: LogPosition;
  /** Everything before this position was durable when the record was staged. */
  readonly syncedThrough: LogPosition;
  /** 16 bytes. */
  readonly batchId: Uint8Array;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  /** Numbers of items. */
  readonly accepted: number;
  readonly rejected: number;
  readonly encoding: ContentEncoding;
  readonly caller: string;
  readonly idempotency: { readonly key: string; readonly bodySha256: Uint8Array } | undefined;
  /** See `RawBatch`. */
  readonly excluded?: readonly number[];
  /** The id that a replayed batch had in the installation that received it. */
  readonly originId?: BatchId;
  /** The raw body, byte for byte. */
  readonly body: Uint8Array;
}

/*
 * A frame, little-endian:
 *   0  u32 magic        4  u32 CRC-32 of all that follows, with the log's salt as initial value
 *   8  u32 frame length
 *  12  u8 version      13  u8 encoding     14  u8 caller length  15  u8 key length
 *  16  u48 position    24  u48 synced through                    32  u48 received at, ms
 *  40  u32 accepted    44  u32 rejected    48  16 bytes batch id
 *  64  SHA-256 of the body (32 bytes, only if there is a key), caller, key, body
 *
 * Records with rare fields have version 2: between key and body, a u32 length and that many bytes
 * of JSON (`Extension`). All others have version 1.
 *
 * The position in the frame reveals misdirected writes and stale blocks. The salt prevents bytes
 * inside a client's body from being read as a frame.
 */
const magic = 0x31_52_50_44; // 'DPR1'
const version = 1;
const extendedVersion = 2;
const extensionLengthBytes = 4;
const encodings: readonly ContentEncoding[] = ['identity', 'gzip'];
const shaBytes = 32;

export const frameHeaderBytes = 64;
export const frameMagic: Uint8Array = Buffer.from('DPR1', 'latin1');

export function frameLength(record: Omit<LogRecord, 'position' | 'syncedThrough' | 'batchId'>) {
  const keyBytes =
    record.idempotency === undefined ? 0 : shaBytes + Buffer.byteLength(record.idempotency.key);
  const callerBytes = Buffer.byteLength(record.caller);
  return frameHeaderBytes + keyBytes + callerBytes + extensionBytes(record) + record.body.length;
}

function extensionBytes(record: Pick<LogRecord, 'excluded' | 'originId'>): number {
  const extension = encodeExtension(record);
  return extension === undefined ? 0 : extensionLengthBytes + extension.length;
}

/** Writes the frame of a record at `offset` of `target`, which must be large enough; returns its length. */
export function encodeFrame(
  record: LogRecord,
  salt: number,
  target: Buffer,
  offset: number,
): number {
  const bodyAt = encodeFields(record, target, offset);
  copyBytes(record.body, target, bodyAt);
  const end = bodyAt + record.body.length;
  target.writeUInt32LE(crc32(target.subarray(offset + 8, end), salt), offset + 4);
  return end - offset;
}

/** Writes the part of a frame before the body at `offset` of `target`; returns its length. */
export function encodeHead(
  record: LogRecord,
  salt: number,
  target: Buffer,
  offset: number,
): number {
  const end = encodeFields(record, target, offset);
  const crc = crc32(record.body, crc32(target.subarray(offset + 8, end), salt));
  target.writeUInt32LE(crc, offset + 4);
  return end - offset;
}

/** Writes the part before the body except the checksum; returns the offset of the body. */
function encodeFields(record: LogRecord, target: Buffer, offset: number): number {
  const { idempotency } = record;
  const length = frameLength(record);
  let at = offset + frameHeaderBytes;
  if (idempotency !== undefined) {
    target.set(idempotency.bodySha256, at);
    at += shaBytes;
  }
  const callerBytes = target.write(record.caller, at);
  at += callerBytes;
  const keyBytes = idempotency === undefined ? 0 : target.write(idempotency.key, at);
  at += keyBytes;
  const extension = encodeExtension(record);
  if (extension !== undefined) {
    at = target.writeUInt32LE(extension.length, at);
    at += extension.copy(target, at);
  }

  target.writeUInt32LE(magic, offset);
  target.writeUInt32LE(length, offset + 8);
  target[offset + 12] = extension === undefined ? version : extendedVersion;
  target[offset + 13] = encodings.indexOf(record.encoding);
  target[offset + 14] = callerBytes;
  target[offset + 15] = keyBytes;
  writePosition(target, record.position, offset + 16);
  writePosition(target, record.syncedThrough, offset + 24);
  writePosition(target, record.receivedAt, offset + 32);
  target.writeUInt32LE(record.accepted, offset + 40);
  target.writeUInt32LE(record.rejected, offset + 44);
  target.set(record.batchId, offset + 48);
  return at;
}

/**
 * The length in the frame header at `offset`; undefined if it is not the header of a record at
 * `position`. Only `decodeFrame` verifies it.
 */
export function claimedLength(
  bytes: Buffer,
  offset: number,
  position: LogPosition,
): number | undefined {
  if (bytes.length - offset < frameHeaderBytes) return undefined;
  if (bytes.readUInt32LE(offset) !== magic || readPosition(bytes, offset + 16) !== position) {
    return undefined;
  }
  const length = bytes.readUInt32LE(offset + 8);
  return length < frameHeaderBytes ? undefined : length;
}

/** Decodes a frame, whose memory the record shares; undefined if it is not valid. */
export function decodeFrame(
  frame: Buffer,
  salt: number,
  position: LogPosition,
): LogRecord | undefined {
  if (claimedLength(frame, 0, position) !== frame.length) return undefined;
  if (crc32(frame.subarray(8), salt) !== frame.readUInt32LE(4)) return undefined;
  const encoding = encodings[frame.readUInt8(13)];
  const isExtended = frame[12] === extendedVersion;
  if ((frame[12] !== version && !isExtended) || encoding === undefined) return undefined;
  const keyBytes = frame.readUInt8(15);
  const callerAt = frameHeaderBytes + (keyBytes > 0 ? shaBytes : 0);
  const keyAt = callerAt + frame.readUInt8(14);
  const keyEnd = keyAt + keyBytes;
  const extensionAt = keyEnd + (isExtended ? extensionLengthBytes : 0);
  const bodyAt = isExtended ? extensionAt + frame.readUInt32LE(keyEnd) : keyEnd;
  const idempotency =
    keyBytes === 0
      ? undefined
      : {
          key: frame.toString('utf8', keyAt, keyEnd),
          bodySha256: frame.subarray(frameHeaderBytes, callerAt),
        };
  return {
    position,
    syncedThrough: readPosition(frame, 24),
    batchId: frame.subarray(48, 64),
    receivedAt: readPosition(frame, 32),
    accepted: frame.readUInt32LE(40),
    rejected: frame.readUInt32LE(44),
    encoding,
    caller: frame.toString('utf8', callerAt, keyAt),
    idempotency,
    ...(isExtended && readExtension(frame.toString('utf8', extensionAt, bodyAt))),
    body: frame.subarray(bodyAt),
  };
}

/** Positions and times are 6 bytes, followed by 2 zero bytes. */
export function writePosition(target: Buffer, position: number, offset: number): void {
  target.writeUIntLE(position, offset, 6);
  target.writeUInt16LE(0, offset + 6);
}

export function readPosition(bytes: Buffer, offset: number): number {
  return bytes.readUIntLE(offset, 6);
}

type Extension = Pick<LogRecord, 'excluded' | 'originId'>;

/** The rare fields in JSON. */
interface ExtensionDocument {
  readonly origin_id?: string;
  readonly excluded?: Ranges;
}

/** The rare fields of a record as JSON; undefined if it has none. */
function encodeExtension({ excluded, originId }: Extension): Buffer | undefined {
  if (excluded === undefined && originId === undefined) return undefined;
  const document: ExtensionDocument = {
    ...(originId !== undefined && { origin_id: originId }),
    ...(excluded !== undefined && { excluded: toRanges(excluded) }),
  };
  return Buffer.from(JSON.stringify(document), 'latin1');
}

/** Reads what `encodeExtension` wrote. The caller has verified the frame's checksum. */
function readExtension(text: string): Extension {
  const { origin_id: originId, excluded } = JSON.parse(text) as ExtensionDocument;
  return {
    ...(originId !== undefined && { originId }),
    ...(excluded !== undefined && { excluded: fromRanges(excluded) }),
  };
}
