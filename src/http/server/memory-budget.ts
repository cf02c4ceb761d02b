/** A shared limit of bytes in memory. */
export class MemoryBudget {
  readonly bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** The bytes reserved now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Reserves the bytes and returns true, or returns false if they exceed the limit. */
  reserve(bytes: number): boolean {
    if (this.#bytes + bytes > this.bytesMax) return false;
    this.#bytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#bytes -= bytes;
  }
}
