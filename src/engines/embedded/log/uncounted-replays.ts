import type { BatchId } from '../../../domain/batch-id.ts';
import type { LogPosition } from './frame.ts';
import type { LogReader } from './log-reader.ts';

/**
 * Finds replayed batches in the part of the log that is not counted yet, which the database does not
 * cover. Reads each record once, however often `find` is called.
 */
export class UncountedReplays {
  readonly #reader: LogReader;
  readonly #countedThrough: () => LogPosition;
  readonly #positions = new Map<BatchId, LogPosition>();
  #readThrough: LogPosition = 0;

  constructor(reader: LogReader, countedThrough: () => LogPosition) {
    this.#reader = reader;
    this.#countedThrough = countedThrough;
  }

  find(batchId: BatchId): LogPosition | undefined {
    const counted = this.#countedThrough();
    for (const [id, place] of this.#positions) {
      if (place >= counted) break;
      this.#positions.delete(id);
    }
    for (const { record, end } of this.#reader.records(Math.max(counted, this.#readThrough))) {
      if (record.originId !== undefined) this.#positions.set(record.originId, record.position);
      this.#readThrough = end;
    }
    return this.#positions.get(batchId);
  }
}
