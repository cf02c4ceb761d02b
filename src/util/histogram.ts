/**
 * How often something took how long, in fixed buckets. The numbers lie in memory that two threads
 * may share: one observes, the others read, and may see an observation in one number before they
 * see it in another.
 */
export class Histogram {
  readonly #bounds: readonly number[];
  /** The observations of each bucket, those beyond all bounds, and the sum. */
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

  /** `buckets` as Prometheus has them: each holds those below it too, and the last all. */
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

/** From a tenth of a millisecond, which a sync of a good disk takes, to ten seconds. */
export const durationBounds: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];
