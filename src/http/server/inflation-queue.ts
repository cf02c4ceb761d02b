/** The largest compression ratio of deflate. Source: zlib, "Technical Details". */
const inflationMax = 1032;

interface QueuedBody {
  readonly bytes: number;
  readonly start: () => void;
}

/**
 * Limits the possible inflated size of all compressed bodies in the pipeline. A few kilobytes can keep
 * the writer busy for a tenth of a second, so a thousand of them would block all later batches. Waiting
 * bodies start in round-robin order over their connections.
 */
export class InflationQueue {
  readonly #bytesMax: number;
  readonly #bodyBytesMax: number;
  #bytes = 0;
  /** The waiting bodies by connection, in round-robin order. */
  readonly #waiting = new Map<object, QueuedBody[]>();

  /** @param bodyBytesMax the limit of one inflated body. A single body runs whatever `bytesMax` is. */
  constructor(bytesMax: number, bodyBytesMax: number) {
    this.#bytesMax = bytesMax;
    this.#bodyBytesMax = bodyBytesMax;
  }

  /** Runs `work` for a compressed body once it fits within the limit. */
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
