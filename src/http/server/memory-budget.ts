/** A bound on bytes held at once, shared by all who hold some. */
export class MemoryBudget {
  readonly bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** Held now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes the bytes if there is room for them; says whether there was. */
  reserve(bytes: number): boolean {
    if (this.#bytes + bytes > this.bytesMax) return false;
    this.#bytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#bytes -= bytes;
  }
}
