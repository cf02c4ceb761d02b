/** So many questions of a lane are begun and not ended; the others wait. */
const begunMax = 4;
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
  readonly #begun: Question[] = [];
  readonly #waiting: Question[] = [];
  #next: NodeJS.Immediate | undefined;

  add(id: number, lane: string, reading: Reading): void {
    this.#waiting.push({ id, lane, reading });
    this.#begin(lane);
  }

  /** Nobody wants it any more. */
  remove(id: number): void {
    for (const questions of [this.#begun, this.#waiting]) {
      const at = questions.findIndex((question) => question.id === id);
      const [question] = at < 0 ? [] : questions.splice(at, 1);
      if (question === undefined) continue;
      question.reading.return?.();
      this.#begin(question.lane);
    }
  }

  close(): void {
    clearImmediate(this.#next);
    this.#waiting.length = 0;
    for (const { reading } of this.#begun.splice(0)) reading.return?.();
  }

  #begin(lane: string): void {
    const begun = this.#begun.filter((question) => question.lane === lane).length;
    const at = this.#waiting.findIndex((question) => question.lane === lane);
    if (begun < begunMax && at >= 0) this.#begun.push(...this.#waiting.splice(at, 1));
    if (this.#begun.length > 0) this.#next ??= setImmediate(() => this.#take());
  }

  /** Between two turns other messages are looked at. */
  #take(): void {
    this.#next = undefined;
    const question = this.#begun.shift();
    if (question === undefined) return;
    const until = performance.now() + turnMs;
    let isDone: boolean;
    do isDone = question.reading.next().done === true;
    while (!isDone && performance.now() < until);
    if (!isDone) this.#begun.push(question);
    this.#begin(question.lane);
  }
}
