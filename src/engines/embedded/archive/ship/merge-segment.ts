import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';

import { withFile, type FileSystem } from '../../log/file-system.ts';
import type { LogPosition } from '../../log/frame.ts';
import { readFully, segmentAt } from '../../log/segment.ts';
import { segmentName, nameOf } from '../archive-objects.ts';
import type { ShippedLog } from './next-piece.ts';
import type { ObjectStore } from '../stores/object-store.ts';
import { inParallel } from '../../../../util/in-parallel.ts';

/** The pieces of a segment that become one object. */
export interface MergedPieces {
  readonly base: LogPosition;
  readonly end: LogPosition;
  /** When the last piece was cut, in milliseconds since 1970. */
  readonly at: number;
  readonly lastNumber: number;
  /** The number of this server's claim. */
  readonly claimNumber: number;
  readonly numbers: readonly number[];
  /** The names of shorter objects of the same segment. */
  readonly superseded: readonly string[];
}

const chunkBytes = 1024 * 1024;
const removalsAtOnce = 8;

/**
 * Stores a segment, or its beginning, as one object, and removes the pieces and objects that it
 * replaces: only after it has read the object back and found it in a listing, because a restore
 * finds objects by listing. Can be repeated after any failure. Returns the object's name.
 * @throws an Error if the object is damaged or not listed yet.
 */
export async function mergeSegment(
  store: ObjectStore,
  { fileSystem, directory, identity }: ShippedLog,
  merged: MergedPieces,
): Promise<string> {
  const logId = identity.logId.toString('hex');
  const name = segmentName(logId, merged);
  const { path } = segmentAt(directory, merged.base);
  const { object, sha256 } = await compressFile(fileSystem, path, merged.end - merged.base);
  await store.create(name, object);
  const stored = await store.get(name);
  if (stored === undefined || (await contentHash(stored)) !== sha256) {
    throw new Error(`${name} in ${store.url} does not hold what was written`);
  }
  const listed = await Array.fromAsync(store.list(name));
  if (listed.every((one) => one.name !== name))
    throw new Error(`${name} is not listed in ${store.url} yet`);
  const replaced = merged.superseded.filter((one) => one !== name);
  const pieces = merged.numbers.map((number) => nameOf('tail', logId, number));
  await inParallel(removalsAtOnce, [...replaced, ...pieces], (one) => store.remove(one));
  return name;
}

async function compressFile(
  fileSystem: FileSystem,
  path: string,
  bytes: number,
): Promise<{ object: Buffer; sha256: string }> {
  const hash = createHash('sha256');
  const pieces: Buffer[] = [];
  function* chunks(): Generator<Buffer> {
    for (let at = 0; at < bytes; at += chunkBytes) {
      const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, bytes - at));
      const read = withFile(fileSystem, path, (file) => readFully(file, chunk, at));
      if (read < chunk.length) throw new Error(`${path} is shorter than ${bytes} bytes`);
      hash.update(chunk);
      yield chunk;
    }
  }
  const params = { [constants.ZSTD_c_checksumFlag]: 1 };
  await pipeline(chunks, createZstdCompress({ params }), async (compressed) => {
    for await (const piece of compressed) pieces.push(piece as Buffer);
  });
  return { object: Buffer.concat(pieces), sha256: hash.digest('hex') };
}

/** The SHA-256 of an object's content, in hexadecimal. */
async function contentHash(object: Uint8Array): Promise<string> {
  const hash = createHash('sha256');
  await pipeline([object], createZstdDecompress(), async (content) => {
    for await (const piece of content) hash.update(piece as Buffer);
  });
  return hash.digest('hex');
}
