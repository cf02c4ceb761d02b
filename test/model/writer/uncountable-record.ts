import { DatabaseSync } from 'node:sqlite';

import { formatBatchId } from '../../../src/domain/batch-id.ts';
import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import type { EmbeddedOptions } from '../../../src/engines/embedded/options.ts';
import { readProgressRow } from '../../../src/engines/embedded/store/progress-row.ts';
import { SegmentedLog } from '../../../src/engines/embedded/log/segmented-log.ts';
import type { SimulatedMachine } from './simulated-machine.ts';
import type { Oracle } from './writer-oracle.ts';

/**
 * Stores a record that was accepted by other rules than the current ones, so that its body gives another
 * reading now. Does nothing while the database has no log.
 */
export function storeUncountable(
  { dataDir, segmentBytes }: EmbeddedOptions,
  machine: SimulatedMachine,
  oracle: Oracle,
): void {
  const database = new DatabaseSync(dataPaths(dataDir).database);
  const hasLedger =
    database.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'progress'`).get() !== undefined;
  const {
    position = 0,
    removedThrough = 0,
    logId,
  } = (hasLedger && readProgressRow(database)) || {};
  database.exec('PRAGMA synchronous = OFF');
  database.close();
  if (logId === undefined) return;
  const log = SegmentedLog.open({
    directory: dataPaths(dataDir).log,
    fileSystem: machine.disk,
    segmentBytes,
    countedThrough: position,
    removedThrough,
    now: machine.now,
  });
  const staged = log.stage({
    receivedAt: machine.wallMs,
    accepted: 2,
    rejected: 0,
    encoding: 'identity',
    caller: '',
    idempotency: undefined,
    body: Buffer.from('{"processed_devices":[]}'),
  });
  log.commit();
  log.close();
  oracle.uncountable.set(staged.position, formatBatchId(staged.batchId));
}
