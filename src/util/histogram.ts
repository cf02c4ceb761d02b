/**
 * A histogram of durations with fixed buckets, in memory that threads can share: one observes, the
 * others read. A reader may see an observation in one number before it sees it in another.
 */
export class Histogram {
  readonly #bounds: readonly number[];
  /** The count of each bucket, the count above all bounds, and the sum of the durations. */
  readonly #numbers: Float64Array;

  /** @param bounds upper ends of the buckets, ascending, in seconds. */
  constructor(bounds: readonly number[], memory: ArrayBufferLike = histogramMemory(bounds)) {
    this.#bounds = bounds;
    this.#numbers = new Float64Array(memory);
  }

  observe(seconds: number): void {
    const bounds = this.#bounds;
    let bucket = 0;
    while (bucket < bounds.length && seconds > (bounds[bucket] ?? Infinity)) bucket++;
    const numbers = this.#numbers;
    numbers[bucket] = (numbers[bucket] ?? 0) + 1;
    const sumAt = bounds.length + 1;
    numbers[sumAt] = (numbers[sumAt] ?? 0) + seconds;
  }

  /** `buckets` are cumulative, as in Prometheus. */
  read(): HistogramReading {
    let count = 0;
    const buckets = [...this.#bounds, Infinity].map((through, index) => {
      count += this.#numbers[index] ?? 0;
      return { through, count };
    });
    return { buckets, count, sum: this.#numbers[this.#bounds.length + 1] ?? 0 };
  }
}

export interface HistogramReading {
  readonly buckets: readonly { readonly through: number; readonly count: number }[];
  readonly count: number;
  /** In seconds. */
  readonly sum: number;
}

/** Memory for a histogram that a worker thread fills. */
export function histogramMemory(bounds: readonly number[]): SharedArrayBuffer {
  return new SharedArrayBuffer((bounds.length + 2) * Float64Array.BYTES_PER_ELEMENT);
}

/** Bounds in seconds, from a fast disk's sync (0.1 ms) to 10 s. */
export const durationBounds: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];
