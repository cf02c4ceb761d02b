/** Maximum number of active queries of a lane; others wait. */
const activeMax = 4;
/** Time slice of a query, in milliseconds. */
const sliceMs = 5;

/** A query whose `next` does one step; `return` releases its resources. */
export type Reading = Iterator<void>;

interface Query {
  readonly id: number;
  readonly lane: string;
  readonly reading: Reading;
}

/**
 * Runs queries on one thread in time slices, so that short ones need not wait for long ones: up to
 * four of a lane at a time, in the order of arrival. Lanes do not wait for each other.
 */
export class RoundRobin {
  readonly #active: Query[] = [];
  readonly #waiting: Query[] = [];
  #next: NodeJS.Immediate | undefined;

  add(id: number, lane: string, reading: Reading): void {
    this.#waiting.push({ id, lane, reading });
    this.#activate(lane);
  }

  /** Cancels a query. */
  remove(id: number): void {
    for (const queries of [this.#active, this.#waiting]) {
      const at = queries.findIndex((query) => query.id === id);
      const [query] = at < 0 ? [] : queries.splice(at, 1);
      if (query === undefined) continue;
      query.reading.return?.();
      this.#activate(query.lane);
    }
  }

  close(): void {
    clearImmediate(this.#next);
    this.#waiting.length = 0;
    for (const { reading } of this.#active.splice(0)) reading.return?.();
  }

  #activate(lane: string): void {
    const begun = this.#active.filter((query) => query.lane === lane).length;
    const at = this.#waiting.findIndex((query) => query.lane === lane);
    if (begun < activeMax && at >= 0) this.#active.push(...this.#waiting.splice(at, 1));
    if (this.#active.length > 0) this.#next ??= setImmediate(() => this.#runNext());
  }

  /** Runs one time slice. Messages are handled between slices. */
  #runNext(): void {
    this.#next = undefined;
    const query = this.#active.shift();
    if (query === undefined) return;
    const until = performance.now() + sliceMs;
    let isDone: boolean;
    do isDone = query.reading.next().done === true;
    while (!isDone && performance.now() < until);
    if (!isDone) this.#active.push(query);
    this.#activate(query.lane);
  }
}
