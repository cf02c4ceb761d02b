/** So many questions of a lane are begun and not ended; the others wait. */
const activeMax = 4;
/** A turn may take so long; a question that needs no more is answered in one. */
const turnMs = 5;

/** What is read a piece at a time by `next`; `return` lets go what it holds. */
export type Reading = Iterator<void>;

interface Question {
  readonly id: number;
  readonly lane: string;
  readonly reading: Reading;
}

/**
 * Lets questions take turns on one thread, so that none waits for another to end: within a lane up to
 * four side by side, in the order in which they came; and no lane waits for another.
 */
export class RoundRobin {
  readonly #active: Question[] = [];
  readonly #waiting: Question[] = [];
  #next: NodeJS.Immediate | undefined;

  add(id: number, lane: string, reading: Reading): void {
    this.#waiting.push({ id, lane, reading });
    this.#activate(lane);
  }

  /** Nobody wants it any more. */
  remove(id: number): void {
    for (const questions of [this.#active, this.#waiting]) {
      const at = questions.findIndex((question) => question.id === id);
      const [question] = at < 0 ? [] : questions.splice(at, 1);
      if (question === undefined) continue;
      question.reading.return?.();
      this.#activate(question.lane);
    }
  }

  close(): void {
    clearImmediate(this.#next);
    this.#waiting.length = 0;
    for (const { reading } of this.#active.splice(0)) reading.return?.();
  }

  #activate(lane: string): void {
    const begun = this.#active.filter((question) => question.lane === lane).length;
    const at = this.#waiting.findIndex((question) => question.lane === lane);
    if (begun < activeMax && at >= 0) this.#active.push(...this.#waiting.splice(at, 1));
    if (this.#active.length > 0) this.#next ??= setImmediate(() => this.#runNext());
  }

  /** Between two turns other messages are looked at. */
  #runNext(): void {
    this.#next = undefined;
    const question = this.#active.shift();
    if (question === undefined) return;
    const until = performance.now() + turnMs;
    let isDone: boolean;
    do isDone = question.reading.next().done === true;
    while (!isDone && performance.now() < until);
    if (!isDone) this.#active.push(question);
    this.#activate(question.lane);
  }
}
