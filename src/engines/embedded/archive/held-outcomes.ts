import type { LogPosition } from '../log/frame.ts';
import type { OtherOutcomes } from '../writer/submission-ring.ts';

interface HeldGroup {
  /** The outcomes are those of the submissions below this number. */
  readonly through: number;
  readonly others: OtherOutcomes;
  /** The log contains the acknowledged batches before this position. */
  readonly end: LogPosition;
  /** The time of a monotonic clock, in milliseconds. */
  readonly since: number;
}

interface HeldOutcomesOptions {
  readonly archivedEnd: () => LogPosition;
  /** How long outcomes wait, in milliseconds. */
  readonly waitMs: number;
  /** Called in the order of the groups. */
  readonly answer: (group: HeldGroup, isArchived: boolean) => void;
}

const checkMs = 250;

/**
 * Holds outcomes back until the archive has the batches that they acknowledge, or for a maximum
 * time.
 */
export class HeldOutcomes {
  readonly #options: HeldOutcomesOptions;
  readonly #groups: HeldGroup[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** The end of the archive when outcomes were last released as not archived. */
  #givenUpAt: LogPosition | undefined;

  constructor(options: HeldOutcomesOptions) {
    this.#options = options;
  }

  /** Whether outcomes were released as not archived, and the archive has stored nothing since. */
  get isStuck(): boolean {
    return this.#givenUpAt !== undefined && this.#options.archivedEnd() <= this.#givenUpAt;
  }

  add(through: number, others: OtherOutcomes, end: LogPosition): void {
    this.#groups.push({ through, others, end, since: performance.now() });
    this.release();
    if (this.#groups.length > 0) this.#timer ??= setInterval(() => this.#giveUp(), checkMs);
  }

  /** Releases the outcomes of batches that the archive has. */
  release(): void {
    const archivedEnd = this.#options.archivedEnd();
    let ready = 0;
    while ((this.#groups[ready]?.end ?? Number.POSITIVE_INFINITY) <= archivedEnd) ready++;
    for (const group of this.#groups.splice(0, ready)) this.#options.answer(group, true);
    this.#stopTimer();
  }

  /** Releases all as not archived: their clients get an error. */
  abandon(): void {
    this.release();
    for (const group of this.#groups.splice(0)) this.#options.answer(group, false);
    this.#stopTimer();
  }

  #giveUp(): void {
    const before = performance.now() - this.#options.waitMs;
    const late = this.#groups.findLastIndex(({ since }) => since <= before) + 1;
    if (late > 0) this.#givenUpAt = this.#options.archivedEnd();
    for (const group of this.#groups.splice(0, late)) this.#options.answer(group, false);
    this.#stopTimer();
  }

  #stopTimer(): void {
    if (this.#groups.length > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
