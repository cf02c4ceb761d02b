interface Timer {
  readonly at: number;
  readonly fire: () => void;
}

/** A clock that stands still while code runs, and otherwise jumps to the next timer. */
export class TimedClock {
  now: number;
  /** The next timer is last. */
  readonly #timers: Timer[] = [];

  constructor(now: number) {
    this.now = now;
  }

  /** Calls back at a time, in milliseconds since 1970; callbacks of one time run in order. */
  at(moment: number, fire: () => void): void {
    const at = Math.max(moment, this.now);
    let [low, high] = [0, this.#timers.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#timers[middle]?.at ?? 0) > at) low = middle + 1;
      else high = middle;
    }
    // Behind later timers and before those of the same time, which run first.
    this.#timers.splice(low, 0, { at, fire });
  }

  sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      this.at(this.now + milliseconds, resolve);
    });
  }

  /** Lets time pass until then. */
  async runTo(moment: number): Promise<void> {
    for (;;) {
      const next = this.#timers.at(-1);
      if (next === undefined || next.at > moment) break;
      this.#timers.pop();
      this.now = next.at;
      next.fire();
      // Until everything waits for the clock.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.now = moment;
  }
}
