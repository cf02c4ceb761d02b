import { setTimeout as delay } from 'node:timers/promises';

/** Reads values from a source with a timeout. A value that comes after the timeout is not lost. */
export class TimedReader<Value> {
  readonly #source: AsyncGenerator<Value, void>;
  #next: Promise<IteratorResult<Value, void>> | undefined;

  constructor(source: AsyncIterable<Value> | Iterable<Value>) {
    this.#source = each(source);
  }

  /** The next value; undefined if none comes within `waitMs`. */
  async next(waitMs = Number.POSITIVE_INFINITY): Promise<IteratorResult<Value, void> | undefined> {
    this.#next ??= this.#source.next();
    const next = this.#next;
    if (waitMs === Number.POSITIVE_INFINITY) return await this.#taken(next);
    // Without a handler, a rejection after the timeout would end the process.
    next.catch(() => undefined);
    const timer = new AbortController();
    const waited = delay(waitMs, undefined, { signal: timer.signal }).catch(() => undefined);
    try {
      const first = await Promise.race([next, waited]);
      return first === undefined ? undefined : await this.#taken(next);
    } finally {
      timer.abort();
    }
  }

  /** All values that have not been read yet. */
  async *rest(): AsyncGenerator<Value, void> {
    try {
      for (;;) {
        const next = await this.next();
        if (next === undefined || next.done === true) return;
        yield next.value;
      }
    } finally {
      this.close();
    }
  }

  /** Ends the source after a pending read. */
  close(): void {
    this.#source.return().catch(() => undefined);
  }

  async #taken(next: Promise<IteratorResult<Value, void>>): Promise<IteratorResult<Value, void>> {
    const result = await next;
    this.#next = undefined;
    return result;
  }
}

async function* each<Value>(
  source: AsyncIterable<Value> | Iterable<Value>,
): AsyncGenerator<Value, void> {
  yield* source;
}
