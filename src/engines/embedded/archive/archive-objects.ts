import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';

import type { LogPosition } from '../log/frame.ts';

/*
 * The objects of an archive, below the hexadecimal id of the log:
 *
 *   tail/<number>.zst                     a piece of the log, or the claim of a server
 *   log/<base>-<end>-<number>-<claim>-<time>.zst
 *                                         a segment from its base to `end`, merged from the pieces
 *                                         through `number` by the server whose claim has the number
 *                                         `claim`; time: when that was shipped, ms since 1970
 *   state/<position>.zst                  pipeline.db at the beginning of an archive whose older
 *                                         segments are gone
 *   tokens/<number>.zst                   tokens.json
 *
 * The numbers of the tail are consecutive, so that two servers that both continue after the same piece try to create the same name, and only one succeeds. Each object is one zstd frame with a checksum of
 * its content. A piece is a line of JSON, its header, and then bytes of the log as they are on disk.
 */

/**
 * A server's first object in the archive. Numbering continues at `next`; later objects of earlier
 * servers are ignored.
 */
export interface Claim {
  readonly kind: 'claim';
  /** A random id. */
  readonly id: string;
  /**
   * Leaves a gap, so that uploads of an earlier server that are still in flight do not take names
   * of this one.
   */
  readonly next: number;
  /** The position in the log at which the pieces continue. */
  readonly from: LogPosition;
  readonly host: string;
  readonly directory: string;
  /** RFC 3339. */
  readonly claimed_at: string;
}

/** A piece of the log within one segment. It begins and ends with a record, or begins with the segment. */
export interface PieceHeader {
  readonly kind: 'piece';
  /** The claim of the server that uploaded the piece. */
  readonly claim: string;
  /** The position of the segment. */
  readonly base: LogPosition;
  readonly from: LogPosition;
  readonly to: LogPosition;
  /** All objects of the tail before this number were in the archive when this one was created. */
  readonly confirmed: number;
  /** When it was cut, in milliseconds since 1970. */
  readonly at: number;
}

export interface Piece extends PieceHeader {
  readonly bytes: Uint8Array;
}

export type TailObject = Claim | Piece;

/** A segment, or its beginning, as one object. */
export interface ArchivedSegment {
  readonly name: string;
  /** Size in bytes, as stored. */
  readonly storedBytes: number;
  readonly base: LogPosition;
  readonly end: LogPosition;
  /** The number of the last piece that it holds. */
  readonly lastNumber: number;
  /**
   * The number of the claim of the server that merged it. It is the last claim before the pieces
   * that follow, unless one of these objects is a later claim.
   */
  readonly claimNumber: number;
  /** When its last piece was cut, in milliseconds since 1970. */
  readonly at: number;
}

/** Largest content of an object, in bytes: a segment of one record of the largest size. */
const contentBytesMax = 1024 * 1024 * 1024 + 64 * 1024 * 1024;

export function compress(content: Uint8Array): Buffer {
  return zstdCompressSync(content, { params: { [constants.ZSTD_c_checksumFlag]: 1 } });
}

/** @throws if the object is damaged. */
export function decompress(object: Uint8Array): Buffer {
  return zstdDecompressSync(object, { maxOutputLength: contentBytesMax });
}

export function encodeClaim(claim: Claim): Buffer {
  return compress(Buffer.from(`${JSON.stringify(claim)}\n`));
}

export function encodePiece(header: PieceHeader, bytes: Uint8Array): Buffer {
  return compress(Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), bytes]));
}

/** @throws if the object is damaged. */
export function decodeTail(object: Uint8Array): TailObject {
  const content = decompress(object);
  const lineEnd = content.indexOf(0x0a);
  const header = JSON.parse(content.toString('utf8', 0, lineEnd)) as Claim | PieceHeader;
  if (header.kind === 'claim') return header;
  return { ...header, bytes: content.subarray(lineEnd + 1) };
}

/** A name of an object that its kind and a number, or the position of a state, make. */
export function nameOf(kind: NumberedKind, logId: string, number: number): string {
  return `${logId}/${kind}/${padded(number, digitsOf[kind])}.zst`;
}

/** The number, or the position, in a name of this kind; undefined for other objects. */
export function numberIn(kind: NumberedKind, name: string): number | undefined {
  const [, found, digits = ''] = /\/(tail|state|tokens)\/(\d+)\.zst$/.exec(name) ?? [];
  return found === kind && digits.length === digitsOf[kind] ? Number(digits) : undefined;
}

export function segmentName(
  logId: string,
  { base, end, lastNumber, claimNumber, at }: Omit<ArchivedSegment, 'name' | 'storedBytes'>,
): string {
  const place = `${padded(base, positionDigits)}-${padded(end, positionDigits)}`;
  const numbers = `${padded(lastNumber, numberDigits)}-${padded(claimNumber, numberDigits)}`;
  return `${logId}/log/${place}-${numbers}-${padded(at, positionDigits)}.zst`;
}

/** Undefined for other objects. */
export function readSegmentName(name: string, storedBytes: number): ArchivedSegment | undefined {
  const found = /\/log\/(\d{16})-(\d{16})-(\d{12})-(\d{12})-(\d{16})\.zst$/.exec(name);
  if (found === null) return undefined;
  const [base = 0, end = 0, lastNumber = 0, claimNumber = 0, at = 0] = found.slice(1).map(Number);
  return { name, storedBytes, base, end, lastNumber, claimNumber, at };
}

const numberDigits = 12;
const positionDigits = 16;
const digitsOf = { tail: numberDigits, state: positionDigits, tokens: numberDigits } as const;
export type NumberedKind = keyof typeof digitsOf;

function padded(value: number, digits: number): string {
  return String(value).padStart(digits, '0');
}
