import type { Borrowed } from '../../../pipeline/ports.ts';

/**
 * Like `target.set(source, offset)`, but ten times as fast if one of them is shared memory, which
 * `set` copies byte by byte.
 */
export function copyBytes(source: Borrowed, target: Buffer, offset: number): void {
  asBuffer(source).copy(target, offset);
}

function asBuffer(bytes: Borrowed): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
