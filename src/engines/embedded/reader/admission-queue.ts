interface Entrant {
  readonly id: number;
  /** Called when the entrant may run; it then ends with `leave`. */
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
  readonly #waiting: { readonly applicant: Entrant; readonly timer: NodeJS.Timeout }[] = [];

  constructor(options: AdmissionQueueOptions) {
    this.#options = options;
  }

  /** Whether one more entrant could run or wait. */
  get hasRoom(): boolean {
    const { runningMax, waitingMax } = this.#options;
    return this.#running.size < runningMax || this.#waiting.length < waitingMax;
  }

  enter(applicant: Entrant): void {
    if (this.#running.size < this.#options.runningMax) {
      this.#running.add(applicant.id);
      applicant.start();
    } else if (this.hasRoom) {
      const timer = setTimeout(() => this.#refuse(applicant.id), this.#options.waitMsMax);
      this.#waiting.push({ applicant, timer });
    } else applicant.refuse();
  }

  /** Removes an entrant that runs or waits, and starts the next. */
  leave(id: number): void {
    this.#dequeue(id);
    if (!this.#running.delete(id)) return;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    clearTimeout(next.timer);
    this.#running.add(next.applicant.id);
    next.applicant.start();
  }

  /** Refuses all waiting entrants. */
  refuseWaiting(): void {
    for (const { applicant } of [...this.#waiting]) this.#refuse(applicant.id);
  }

  close(): void {
    for (const { timer } of this.#waiting.splice(0)) clearTimeout(timer);
  }

  #refuse(id: number): void {
    this.#dequeue(id)?.refuse();
  }

  #dequeue(id: number): Entrant | undefined {
    const at = this.#waiting.findIndex(({ applicant }) => applicant.id === id);
    const [found] = at < 0 ? [] : this.#waiting.splice(at, 1);
    clearTimeout(found?.timer);
    return found?.applicant;
  }
}
