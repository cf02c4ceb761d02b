import { formatBatchId, rawKeyOf } from '../../domain/batch-id.ts';
import type { RawBatch } from '../../pipeline/ports.ts';
import { dataPaths } from './data-directory.ts';
import { nodeFileSystem } from './file-system.ts';
import { readLogId, saltOfLog } from './log-segment.ts';
import { lastRecordEnd, surveyLog, type Damage } from './log-survey.ts';

export type FoundBatch =
  | { readonly batch: RawBatch & { readonly rawKey: string }; readonly damage?: never }
  | { readonly damage: Damage };

/**
 * The raw batches of a data directory, beside its server too, in the order they were stored; and
 * the damage between them. A body is valid until the next batch is asked for.
 * @throws where there is no log.
 */
export function* rawBatches(
  dataDir: string,
  received: { readonly from: number; readonly to: number } | undefined,
): Generator<FoundBatch> {
  const { log: directory } = dataPaths(dataDir);
  const logId = readLogIdOrThrow(directory);
  const place = { fileSystem: nodeFileSystem, directory, salt: saltOfLog(logId) };
  for (const found of surveyLog({ ...place, from: 0, through: lastRecordEnd(place) })) {
    if (found.damage !== undefined) {
      // Segments that were removed by --keep-raw are no damage.
      if (found.damage.from > 0 || !found.damage.isFileMissing) yield { damage: found.damage };
      continue;
    }
    const { record } = found;
    const { receivedAt } = record;
    if (received !== undefined && (receivedAt < received.from || receivedAt >= received.to)) {
      continue;
    }
    const { encoding, accepted, rejected, excluded, body } = record;
    const batchId = formatBatchId(record.batchId);
    const rawKey = rawKeyOf(batchId, receivedAt);
    const counts = { accepted, rejected, ...(excluded !== undefined && { excluded }) };
    yield { batch: { rawKey, batchId, receivedAt, encoding, ...counts, body } };
  }
}

function readLogIdOrThrow(directory: string): Buffer {
  let logId: Buffer | undefined;
  try {
    logId = readLogId(nodeFileSystem, directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  if (logId !== undefined) return logId;
  throw new Error(`There is no log in ${directory}. Start one with serve, or name its --data-dir.`);
}
