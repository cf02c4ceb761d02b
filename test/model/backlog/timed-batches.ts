import { blockIdsMax, placeInBlock, rawKeyOf, readRawKey } from '../../../src/domain/batch-id.ts';
import { carriedMessage } from '../../../src/pipeline/chunks/carried-batch.ts';
import { cutIntoChunks } from '../../../src/pipeline/chunks/chunk.ts';
import type { DeviceEvent } from '../../../src/domain/device-event.ts';

const [types, states] = [6, 5];
/**
 * Batches of one item each, by number: their details are derived from the number on demand, so that
 * millions take little memory.
 */
export class TimedBatches {
  /** Milliseconds since 1970; ascending. */
  readonly #receivedAt: number[] = [];
  readonly #replayedAt: number[] = [];
  readonly #flags: number[] = [];
  /** When a sweep queued them, if it did. */
  readonly #queuedAt = new Map<number, number>();
  readonly #days: number;

  /** Whether their messages carry their bodies. */
  readonly areCarried: boolean;

  readonly #environments: number;

  /**
   * `days`: the number of days on which the items count, in rotation. `environments`: of the ingest
   * function; they take the requests in turn.
   */
  constructor(days: number, areCarried = false, environments = 20) {
    this.#days = days;
    this.areCarried = areCarried;
    this.#environments = environments;
  }

  get size(): number {
    return this.#flags.length;
  }

  add(receivedAt: number, replayedAt = 0): number {
    this.#receivedAt.push(receivedAt);
    this.#replayedAt.push(replayedAt);
    return this.#flags.push(0) - 1;
  }

  receivedAt(batch: number): number {
    return this.#receivedAt[batch] ?? NaN;
  }

  /** Undefined for a batch that is not a replay. */
  replayedAt(batch: number): number | undefined {
    const at = this.#replayedAt[batch] ?? 0;
    return at === 0 ? undefined : at;
  }

  queue(batch: number, queuedAt: number): void {
    this.#queuedAt.set(batch, queuedAt);
  }

  queuedAt(batch: number): number | undefined {
    return this.#queuedAt.get(batch);
  }

  has(batch: number, flag: Flag): boolean {
    return ((this.#flags[batch] ?? 0) & flags[flag]) !== 0;
  }

  set(batch: number, flag: Flag): void {
    this.#flags[batch] = (this.#flags[batch] ?? 0) | flags[flag];
  }

  idOf(batch: number): string {
    if (!this.areCarried) return `00000000-0000-7000-8000-${hex(batch, 12)}`;
    const time = hex(this.receivedAt(batch), 12);
    const environments = this.#environments;
    const [round, environment] = [Math.floor(batch / environments), batch % environments];
    const block = Math.floor(round / blockIdsMax) * environments + environment;
    const count = hex(round % blockIdsMax, 3);
    return `${time.slice(0, 8)}-${time.slice(8)}-8${count}-bf01-${hex(block, 12)}`;
  }

  /** `batchId`: also with something before it. */
  numberOf(batchId: string): number {
    const last = Number.parseInt(batchId.slice(-12), 16);
    if (!this.areCarried) return last;
    return this.#numberIn(last, Number.parseInt(batchId.slice(-21, -18), 16));
  }

  /** The batches that have their dedup records in a block. */
  inBlock(block: string): number[] {
    const last = Number.parseInt(block.slice(-12), 16);
    const all = Array.from({ length: blockIdsMax }, (_, count) => this.#numberIn(last, count));
    return all.filter(
      (batch) => batch < this.size && placeInBlock(this.idOf(batch))?.block === block,
    );
  }

  #numberIn(block: number, count: number): number {
    const environments = this.#environments;
    const round = Math.floor(block / environments) * blockIdsMax + count;
    return round * environments + (block % environments);
  }

  rawKeyOf(batch: number): string {
    return rawKeyOf(this.idOf(batch), this.receivedAt(batch));
  }

  numberOfKey(rawKey: string): number {
    return this.numberOf(readRawKey(rawKey)?.batchId ?? '');
  }

  /** The first batch whose raw key is after `after`. */
  firstAfter(after: string): number {
    let [low, high] = [0, this.size];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.rawKeyOf(middle) > after) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  event(batch: number): DeviceEvent {
    const day = `2026-01-${String(1 + (batch % this.#days)).padStart(2, '0')}`;
    const kind = Math.floor(batch / this.#days) % (types * states);
    const type = `type ${kind % types}`;
    const state = `state ${Math.floor(kind / types)}`;
    return { type, state, timestamp: `${day}T12:00:00Z`, date: day };
  }

  body(batch: number): Uint8Array {
    const { type, state, timestamp } = this.event(batch);
    return Buffer.from(JSON.stringify({ processed_devices: [{ type, state, timestamp }] }));
  }

  message(batch: number): string {
    const identity = { batchId: this.idOf(batch), receivedAt: this.receivedAt(batch) };
    if (this.areCarried) {
      const body = this.body(batch);
      return carriedMessage({ ...identity, body, encoding: 'identity', accepted: 1, rejected: 0 });
    }
    const [chunk] = cutIntoChunks(identity, [this.event(batch)]);
    return chunk?.message ?? '';
  }
}

type Flag = keyof typeof flags;
/** `row`: its intake is complete. `counted`: it is counted. `kept`: its carried body is stored. */
const flags = { row: 1, counted: 2, kept: 4 } as const;

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}
