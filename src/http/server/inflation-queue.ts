/** Deflate makes no more of a byte than this. Source: zlib, "Technical Details". */
const inflationMax = 1032;

interface QueuedBody {
  readonly bytes: number;
  readonly start: () => void;
}

/**
 * Bounds what the compressed bodies that are with the pipeline could inflate to. A few kilobytes
 * can keep the writer busy for a tenth of a second: let in as they come, a thousand of them would
 * hold up everybody behind them. Those that wait are let in connection by connection in turn.
 */
export class InflationQueue {
  readonly #bytesMax: number;
  readonly #bodyBytesMax: number;
  #bytes = 0;
  /** In the order of their turns. */
  readonly #waiting = new Map<object, QueuedBody[]>();

  /** @param bodyBytesMax no body is inflated further; one is let in whatever the bound. */
  constructor(bytesMax: number, bodyBytesMax: number) {
    this.#bytesMax = bytesMax;
    this.#bodyBytesMax = bodyBytesMax;
  }

  /** Does the work, for a connection and a compressed body of so many bytes, when it is its turn. */
  async run<T>(connection: object, compressedBytes: number, work: () => Promise<T>): Promise<T> {
    const bytes = Math.min(compressedBytes * inflationMax, this.#bodyBytesMax);
    if (this.#waiting.size > 0 || !this.#fits(bytes)) await this.#enqueue(connection, bytes);
    else this.#bytes += bytes;
    try {
      return await work();
    } finally {
      this.#bytes -= bytes;
      this.#startNext();
    }
  }

  #fits(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#bytesMax;
  }

  #enqueue(connection: object, bytes: number): Promise<void> {
    return new Promise((resolve) => {
      const waiting = { bytes, start: () => resolve() };
      const others = this.#waiting.get(connection);
      if (others === undefined) this.#waiting.set(connection, [waiting]);
      else others.push(waiting);
    });
  }

  #startNext(): void {
    for (;;) {
      const [next] = this.#waiting;
      if (next === undefined) return;
      const [connection, waiting] = next;
      const [first] = waiting;
      if (first === undefined || !this.#fits(first.bytes)) return;
      this.#bytes += first.bytes;
      waiting.shift();
      this.#waiting.delete(connection);
      if (waiting.length > 0) this.#waiting.set(connection, waiting);
      first.start();
    }
  }
}
