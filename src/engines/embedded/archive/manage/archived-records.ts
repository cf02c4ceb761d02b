import { Readable } from 'node:stream';
import { createZstdDecompress } from 'node:zlib';

import {
  claimedLength,
  decodeFrame,
  frameHeaderBytes,
  type LogPosition,
  type LogRecord,
} from '../../log/frame.ts';
import {
  decodeSegmentHeader,
  headerBytesMax,
  headerBytesOf,
  saltOfLog,
  type LogIdentity,
} from '../../log/segment.ts';

/** Consecutive bytes of one segment, as an object of an archive holds them. */
export interface ArchivedPart {
  /** The position of the segment. */
  readonly base: LogPosition;
  readonly from: LogPosition;
  readonly to: LogPosition;
}

/** Bytes of the log, in order. */
export type LogBytes = AsyncIterable<Uint8Array>;

const chunkBytes = 1024 * 1024;

/** The content of an object, a MiB at a time. Iterating throws if the object is damaged. */
export function decompressed(object: Uint8Array): LogBytes {
  return Readable.from([object]).pipe(createZstdDecompress({ chunkSize: chunkBytes }));
}

/** Presents bytes in memory as bytes of the log. */
export function bytesOf(bytes: Uint8Array): LogBytes {
  return Readable.from([bytes]);
}

/** There is no valid record, or header of a segment, at a position. */
export class InvalidRecord extends Error {
  override readonly name = 'InvalidRecord';
  readonly position: LogPosition;

  constructor(position: LogPosition) {
    super(`There is no valid record at byte ${position} of the log`);
    this.position = position;
  }
}

/** Whether zstd, or the parser of a header, rejects the content of an object. */
export function isOfContent(error: unknown): boolean {
  if (error instanceof SyntaxError) return true;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return /^(?:ZSTD_|Z_|ERR_BUFFER|ERR_OUT_OF_RANGE)/.test(code);
}

/**
 * Yields the records of a part in order. Bodies stay valid. Memory: some MiB, or the size of the largest
 * record if that is more.
 * @throws {InvalidRecord} unless the part consists of valid records, and begins with the header of
 *   this log if the segment begins with it.
 */
export async function* archivedRecords(
  bytes: LogBytes,
  part: ArchivedPart,
  logId: string,
): AsyncGenerator<LogRecord, void> {
  const input = new ByteInput(bytes);
  try {
    yield* recordsIn(input, part, Buffer.from(logId, 'hex'));
  } finally {
    await input.close();
  }
}

async function* recordsIn(
  input: ByteInput,
  { base, from, to }: ArchivedPart,
  id: Buffer,
): AsyncGenerator<LogRecord, void> {
  const salt = saltOfLog(id);
  let position = from;
  if (from === base) {
    const header = decodeSegmentHeader(await input.peek(headerBytesMax), base);
    if (header?.logId.equals(id) !== true) throw new InvalidRecord(base);
    input.skip(headerBytesOf(header));
    position += headerBytesOf(header);
  }
  while (position < to) {
    const length = claimedLength(await input.peek(frameHeaderBytes), 0, position);
    if (length === undefined || length > to - position) throw new InvalidRecord(position);
    const record = decodeFrame(await input.peek(length), salt, position);
    if (record === undefined) throw new InvalidRecord(position);
    input.skip(length);
    position += length;
    yield record;
  }
  if (position > to || (await input.peek(1)).length > 0) throw new InvalidRecord(to);
}

/** The identity of the log of a segment that `bytes` begin with; undefined if the header is invalid. */
export async function identityOf(
  bytes: LogBytes,
  base: LogPosition,
): Promise<LogIdentity | undefined> {
  const input = new ByteInput(bytes);
  try {
    return decodeSegmentHeader(await input.peek(headerBytesMax), base);
  } finally {
    await input.close();
  }
}

/** Reads bytes that arrive in chunks, in lengths that the caller chooses. */
class ByteInput {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #bytes: Buffer = Buffer.alloc(0);

  constructor(bytes: LogBytes) {
    this.#chunks = bytes[Symbol.asyncIterator]();
  }

  /** The next bytes; fewer than `length` only at the end. */
  async peek(length: number): Promise<Buffer> {
    if (this.#bytes.length < length) await this.#fill(length);
    return this.#bytes.subarray(0, length);
  }

  skip(length: number): void {
    this.#bytes = this.#bytes.subarray(length);
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  async #fill(length: number): Promise<void> {
    const chunks: Uint8Array[] = [this.#bytes];
    let total = this.#bytes.length;
    while (total < length) {
      const next = await this.#chunks.next();
      if (next.done === true) break;
      chunks.push(next.value);
      total += next.value.length;
    }
    this.#bytes = Buffer.concat(chunks, total);
  }
}
