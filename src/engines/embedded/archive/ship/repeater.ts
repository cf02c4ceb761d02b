import { LogDamaged } from '../../log/recovery.ts';
import { ArchiveDamaged } from '../read-archive.ts';
import { TakenOver } from './taken-over.ts';
import { ArchiveUnusable } from '../stores/object-store.ts';

/** The clock and the randomness of an archiver. */
export interface ArchiverClock {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds of a monotonic clock. */
  readonly elapsedMs: () => number;
  readonly sleep: (milliseconds: number) => Promise<void>;
  /** From 0 to 1. */
  readonly random: () => number;
}

interface RepeaterOptions {
  readonly clock: ArchiverClock;
  /** Called with the reason when an act fails, and with undefined once none fails any more. */
  readonly onProblem: (problem: string | undefined) => void;
  /** Whether the archive has ever worked. If it has not and is unusable, the settings are wrong. */
  readonly hasWorked: () => boolean;
}

const firstPauseMs = 200;
const pauseMsMax = 5_000;

/** Retries failed acts, with jittered pauses, until they succeed or the archiver has to stop. */
export class Repeater {
  readonly #options: RepeaterOptions;
  /**
   * Ends the pauses. One promise for all of them would keep the reactions of past pauses in memory.
   */
  readonly #wakers = new Set<() => void>();
  #stopBy = Number.POSITIVE_INFINITY;
  /** The number of acts that have failed and are repeated. */
  #failing = 0;

  constructor(options: RepeaterOptions) {
    this.#options = options;
  }

  get isStopping(): boolean {
    return Number.isFinite(this.#stopBy);
  }

  /** Whether the time to stop is over. */
  get isOverdue(): boolean {
    return this.#options.clock.elapsedMs() >= this.#stopBy;
  }

  /** Retries only for `graceMs` from now on. */
  stop(graceMs: number): void {
    this.#stopBy = this.#options.clock.elapsedMs() + graceMs;
    for (const wake of this.#wakers) wake();
  }

  /** @throws an error that a retry cannot fix, or the last error when the time to stop is over. */
  async repeat<T>(act: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; failures++) {
      try {
        const result = await act();
        if (failures > 0) this.#recover();
        return result;
      } catch (error) {
        const isMistake = isUnusable(error) && !this.#options.hasWorked();
        if (isMistake || isFinal(error) || this.isOverdue) throw error;
        if (failures === 0) this.#failing++;
        this.#options.onProblem(error instanceof Error ? error.message : String(error));
      }
      const msMax = Math.min(pauseMsMax, firstPauseMs * 2 ** Math.min(failures, 20));
      await this.pause(msMax * this.#options.clock.random());
    }
  }

  /** Waits, but not beyond the time to stop; a stop ends it. */
  async pause(milliseconds: number, ...wakers: readonly Promise<unknown>[]): Promise<void> {
    const { sleep, elapsedMs } = this.#options.clock;
    const slept = sleep(Math.max(0, Math.min(milliseconds, this.#stopBy - elapsedMs())));
    const { promise: stopped, resolve } = Promise.withResolvers<undefined>();
    const wake = () => resolve(undefined);
    this.#wakers.add(wake);
    await Promise.race([slept, stopped, ...wakers]);
    this.#wakers.delete(wake);
  }

  #recover(): void {
    this.#failing--;
    if (this.#failing === 0) this.#options.onProblem(undefined);
  }
}

function isUnusable(error: unknown): boolean {
  return error instanceof ArchiveUnusable || error instanceof ArchiveDamaged;
}

/** Whether a retry cannot fix the error. */
export function isFinal(error: unknown): boolean {
  return error instanceof TakenOver || error instanceof LogDamaged;
}
