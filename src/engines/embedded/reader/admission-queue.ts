interface Entrant {
  readonly id: number;
  /** Called when the entrant may run; `leave` must be called when it ends. */
  readonly start: () => void;
  /** Called if the queue is full, or the wait was too long. */
  readonly refuse: () => void;
}

interface AdmissionQueueOptions {
  readonly runningMax: number;
  readonly waitingMax: number;
  readonly waitMsMax: number;
}

/** Limits how many entrants run at a time; a bounded number of others wait, first in, first out. */
export class AdmissionQueue {
  readonly #options: AdmissionQueueOptions;
  readonly #running = new Set<number>();
  readonly #waiting: { readonly entrant: Entrant; readonly timer: NodeJS.Timeout }[] = [];

  constructor(options: AdmissionQueueOptions) {
    this.#options = options;
  }

  /** Whether one more entrant could run or wait. */
  get hasRoom(): boolean {
    const { runningMax, waitingMax } = this.#options;
    return this.#running.size < runningMax || this.#waiting.length < waitingMax;
  }

  enter(entrant: Entrant): void {
    if (this.#running.size < this.#options.runningMax) {
      this.#running.add(entrant.id);
      entrant.start();
    } else if (this.hasRoom) {
      const timer = setTimeout(() => this.#refuse(entrant.id), this.#options.waitMsMax);
      this.#waiting.push({ entrant, timer });
    } else entrant.refuse();
  }

  /** Removes an entrant that runs or waits, and starts the next. */
  leave(id: number): void {
    this.#dequeue(id);
    if (!this.#running.delete(id)) return;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    clearTimeout(next.timer);
    this.#running.add(next.entrant.id);
    next.entrant.start();
  }

  /** Refuses all waiting entrants. */
  refuseWaiting(): void {
    for (const { entrant } of [...this.#waiting]) this.#refuse(entrant.id);
  }

  close(): void {
    for (const { timer } of this.#waiting.splice(0)) clearTimeout(timer);
  }

  #refuse(id: number): void {
    this.#dequeue(id)?.refuse();
  }

  #dequeue(id: number): Entrant | undefined {
    const at = this.#waiting.findIndex(({ entrant }) => entrant.id === id);
    const [found] = at < 0 ? [] : this.#waiting.splice(at, 1);
    clearTimeout(found?.timer);
    return found?.entrant;
  }
}
