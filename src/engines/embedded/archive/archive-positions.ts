import type { LogPosition } from '../log/frame.ts';

/**
 * Words: the durable end of the log, the end of the archived log, the position before which the
 * archive needs no segments, and the time before which everything is archived.
 */
const durable = 0;
const archived = 1;
const released = 2;
const archivedTime = 3;
const words = 4;

/**
 * Positions that the writer and the archive's thread exchange through shared memory. The writer
 * sets the durable end of the log; the archive's thread sets the end of the archived log, and which
 * segments may be removed.
 */
export class ArchivePositions {
  readonly memory: SharedArrayBuffer;
  readonly #positions: BigInt64Array;
  /** A counter that changes with `durableEnd`, for `Atomics.waitAsync`. */
  readonly #changes: Int32Array;

  constructor(memory = new SharedArrayBuffer(words * 8 + 4)) {
    this.memory = memory;
    this.#positions = new BigInt64Array(memory, 0, words);
    this.#changes = new Int32Array(memory, words * 8, 1);
  }

  get durableEnd(): LogPosition {
    return this.#get(durable);
  }

  set durableEnd(position: LogPosition) {
    if (position === this.durableEnd) return;
    this.#set(durable, position);
    Atomics.add(this.#changes, 0, 1);
    Atomics.notify(this.#changes, 0);
  }

  /** The archive holds everything before it. */
  get archivedEnd(): LogPosition {
    return this.#get(archived);
  }

  set archivedEnd(position: LogPosition) {
    this.#set(archived, position);
  }

  /** Everything durable at this time is archived; milliseconds since 1970. */
  get archivedAt(): number {
    return this.#get(archivedTime);
  }

  set archivedAt(time: number) {
    this.#set(archivedTime, Math.floor(time));
  }

  /** Retention may remove segments before it. */
  get releasedEnd(): LogPosition {
    return this.#get(released);
  }

  set releasedEnd(position: LogPosition) {
    this.#set(released, position);
  }

  /** Resolves once `durableEnd` is above a position, or after a time. */
  async durableAbove(position: LogPosition, waitMs: number): Promise<void> {
    const seen = Atomics.load(this.#changes, 0);
    if (this.durableEnd > position) return;
    await Atomics.waitAsync(this.#changes, 0, seen, waitMs).value;
  }

  #get(word: number): LogPosition {
    return Number(Atomics.load(this.#positions, word));
  }

  #set(word: number, position: LogPosition): void {
    Atomics.store(this.#positions, word, BigInt(position));
  }
}
