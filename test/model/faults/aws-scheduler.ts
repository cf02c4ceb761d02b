import type { Random } from '../simulated-aws/aws-random.ts';

/** A run of a function. Once it is dead, none of its calls is answered. */
export interface Invocation {
  readonly name: string;
  /** When the platform ends it; milliseconds since 1970. */
  readonly endsAt: number;
  state: 'running' | 'ended' | 'dead';
  /** The number of its calls with a fault. */
  faults: number;
  /** Called when it is killed. */
  readonly onDeath: () => void;
}

export interface Call {
  readonly invocation: Invocation;
  readonly command: object;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface Timer {
  readonly invocation: Invocation;
  readonly due: number;
  readonly fire: () => void;
}

/**
 * Runs invocations concurrently; each stops at its next call, and the scheduler draws which open call
 * is answered next. Time passes only here.
 */
export class Scheduler {
  now: number;
  readonly calls: Call[] = [];
  readonly running = new Set<Invocation>();
  readonly #timers: Timer[] = [];
  readonly #random: Random;
  #names = 0;

  constructor(random: Random, now: number) {
    this.#random = random;
    this.now = now;
  }

  /** Starts an invocation; calls at most one of the two functions at the end. */
  start<T>(
    name: string,
    timeoutMs: number,
    run: (invocation: Invocation) => Promise<T>,
    ends: {
      readonly onEnd: (outcome: { readonly value: T } | { readonly error: unknown }) => void;
      readonly onDeath: () => void;
    },
  ): Invocation {
    const invocation: Invocation = {
      name: `${name}${++this.#names}`,
      endsAt: this.now + timeoutMs,
      state: 'running',
      faults: 0,
      onDeath: ends.onDeath,
    };
    this.running.add(invocation);
    const end = (outcome: { readonly value: T } | { readonly error: unknown }) => {
      if (invocation.state !== 'running') return;
      invocation.state = 'ended';
      this.#forget(invocation);
      ends.onEnd(outcome);
    };
    run(invocation).then(
      (value) => end({ value }),
      (error: unknown) => end({ error }),
    );
    return invocation;
  }

  call(invocation: Invocation, command: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (invocation.state === 'running') {
        this.calls.push({ invocation, command, resolve, reject });
      }
    });
  }

  sleep(invocation: Invocation, milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      if (invocation.state !== 'running') return;
      this.#timers.push({ invocation, due: this.now + milliseconds, fire: resolve });
    });
  }

  kill(invocation: Invocation): void {
    if (invocation.state !== 'running') return;
    invocation.state = 'dead';
    this.#forget(invocation);
    invocation.onDeath();
  }

  get isBusy(): boolean {
    return this.calls.length > 0 || this.#timers.length > 0;
  }

  /** Lets time pass; ends invocations whose deadline has passed. */
  pass(milliseconds: number): void {
    this.now += milliseconds;
    for (const invocation of this.running) if (invocation.endsAt <= this.now) this.kill(invocation);
  }

  /** The next call to answer; if all wait for a time, that time comes. */
  async next(): Promise<Call | undefined> {
    if (this.calls.length === 0) {
      const due = Math.min(...this.#timers.map((timer) => timer.due));
      if (Number.isFinite(due)) this.pass(Math.max(0, due - this.now));
    }
    for (let at = this.#timers.length - 1; at >= 0; at--) {
      if ((this.#timers[at]?.due ?? Infinity) > this.now) continue;
      for (const timer of this.#timers.splice(at, 1)) timer.fire();
    }
    await this.settle();
    const [call] = this.calls.splice(this.#random.below(this.calls.length), 1);
    return call;
  }

  /** Resolves when every invocation waits for a call or a time. */
  settle(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  #forget(invocation: Invocation): void {
    this.running.delete(invocation);
    for (const waiting of [this.calls, this.#timers]) {
      for (let at = waiting.length - 1; at >= 0; at--) {
        if (waiting[at]?.invocation === invocation) waiting.splice(at, 1);
      }
    }
  }
}
