/** Smaller pieces cost as much to free as to collect. */
const freedBytesMin = 4096;

/**
 * Frees the memory of pieces that were read from a socket. They must not be used afterwards. Without
 * this, the garbage collector would collect the whole heap for every 32 MiB that is read.
 */
export function freePieces(pieces: readonly Buffer[]): void {
  for (const { buffer, length } of pieces) {
    // A piece of another length shares its memory with others.
    const isAlone = buffer instanceof ArrayBuffer && buffer.byteLength === length;
    if (isAlone && length >= freedBytesMin) buffer.transfer(0);
  }
}
