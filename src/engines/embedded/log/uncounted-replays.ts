import type { BatchId } from '../../../domain/batch-id.ts';
import type { LogPosition } from './frame.ts';
import type { LogReader } from './log-reader.ts';

/**
 * Returns a function that finds replayed batches in the part of the log that is not counted yet, which
 * the database does not cover. It reads each record once, however often it is called.
 */
export function findUncountedReplay(
  reader: LogReader,
  countedThrough: () => LogPosition,
): (batchId: BatchId) => LogPosition | undefined {
  const positions = new Map<BatchId, LogPosition>();
  let readThrough: LogPosition = 0;
  return (batchId) => {
    const counted = countedThrough();
    for (const [id, place] of positions) {
      if (place >= counted) break;
      positions.delete(id);
    }
    for (const { record, end } of reader.records(Math.max(counted, readThrough))) {
      if (record.originId !== undefined) positions.set(record.originId, record.position);
      readThrough = end;
    }
    return positions.get(batchId);
  };
}
