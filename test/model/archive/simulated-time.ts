import { openZstdStreams } from './zstd-streams.ts';

interface Timer {
  readonly at: number;
  readonly fire: () => void;
}

/** Time that stands still while code runs, and otherwise jumps to the next timer. */
export class SimulatedTime {
  /** Milliseconds since 1970. */
  now: number;
  /** Called whenever everything waits for time to pass. */
  onSettled: () => void = () => undefined;
  /** The next timer is last. */
  readonly #timers: Timer[] = [];

  constructor(now: number) {
    this.now = now;
  }

  /** Calls back after some milliseconds; callbacks of one time run in order. */
  after(milliseconds: number, fire: () => void): void {
    const at = this.now + Math.max(0, milliseconds);
    let [low, high] = [0, this.#timers.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#timers[middle]?.at ?? 0) > at) low = middle + 1;
      else high = middle;
    }
    this.#timers.splice(low, 0, { at, fire });
  }

  async pass(milliseconds: number): Promise<void> {
    const end = this.now + milliseconds;
    while (await this.#step(end));
    this.now = end;
  }

  /** Lets time pass until a promise is settled. */
  async until<T>(promise: Promise<T>): Promise<T> {
    const progress = { isOver: false };
    const end = () => void (progress.isOver = true);
    promise.then(end, end);
    while (!progress.isOver && (await this.#step(Number.POSITIVE_INFINITY)));
    return promise;
  }

  /** Fires the next timer up to `end`; returns whether there was one. */
  async #step(end: number): Promise<boolean> {
    await settle();
    this.onSettled();
    const next = this.#timers.at(-1);
    if (next === undefined || next.at > end) return false;
    this.#timers.pop();
    this.now = next.at;
    next.fire();
    return true;
  }
}

/** Resolves when everything waits for a timer. */
async function settle(): Promise<void> {
  await immediate();
  if (openZstdStreams() === 0) return;
  while (openZstdStreams() > 0) await immediate();
  await settle();
}

function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A process that can be killed, or stopped for some time: then nothing reaches it. */
export class SimulatedProcess {
  readonly name: string;
  readonly #time: SimulatedTime;
  readonly #held: (() => void)[] = [];
  #state: 'running' | 'paused' | 'dead' = 'running';
  /** When it last was started or resumed. */
  runsSince: number;

  constructor(name: string, time: SimulatedTime) {
    this.name = name;
    this.#time = time;
    this.runsSince = time.now;
  }

  get state(): 'running' | 'paused' | 'dead' {
    return this.#state;
  }

  readonly sleep = (milliseconds: number): Promise<void> =>
    new Promise((resolve) => {
      this.#time.after(milliseconds, () => this.deliver(resolve));
    });

  /** Acts once the process runs, unless it is dead. */
  deliver(act: () => void): void {
    if (this.#state === 'running') act();
    else if (this.#state === 'paused') this.#held.push(act);
  }

  pause(): void {
    if (this.#state === 'running') this.#state = 'paused';
  }

  resume(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    this.runsSince = this.#time.now;
    for (const act of this.#held.splice(0)) act();
  }

  kill(): void {
    this.#state = 'dead';
    this.#held.length = 0;
  }
}
