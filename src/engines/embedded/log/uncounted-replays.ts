import type { BatchId } from '../../../domain/batch-id.ts';
import type { LogPosition } from './frame.ts';
import type { LogReader } from './log-reader.ts';

/**
 * Where batches from other installations stand in the part of the log that is not counted yet, of
 * which the database does not know. What is looked for is read once, however often that is done.
 */
export class ReplayedTail {
  readonly #reader: LogReader;
  readonly #countedThrough: () => LogPosition;
  readonly #places = new Map<BatchId, LogPosition>();
  #readThrough: LogPosition = 0;

  constructor(reader: LogReader, countedThrough: () => LogPosition) {
    this.#reader = reader;
    this.#countedThrough = countedThrough;
  }

  find(batchId: BatchId): LogPosition | undefined {
    const counted = this.#countedThrough();
    for (const [id, place] of this.#places) {
      if (place >= counted) break;
      this.#places.delete(id);
    }
    for (const { record, end } of this.#reader.records(Math.max(counted, this.#readThrough))) {
      if (record.originId !== undefined) this.#places.set(record.originId, record.position);
      this.#readThrough = end;
    }
    return this.#places.get(batchId);
  }
}
