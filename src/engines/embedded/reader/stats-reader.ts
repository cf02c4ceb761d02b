import type { CounterQuery } from '../../../pipeline/ports.ts';
import { readCounters } from '../store/counter-rows.ts';
import { dataPaths } from '../data-directory.ts';
import { nodeFileSystem } from '../log/file-system.ts';
import type { LogPosition } from '../log/frame.ts';
import { LogReader } from '../log/log-reader.ts';
import type { CounterSizes } from '../writer/messages.ts';
import { selectReplayedPosition } from '../store/counter-store.ts';
import { openDatabaseReadOnly } from '../store/read-only-database.ts';

/**
 * Reads the counters of a data directory, also while a server runs.
 * @throws if there is no pipeline in the directory.
 */
export function openStatsReader(dataDir: string) {
  const paths = dataPaths(dataDir);
  const database = openDatabaseReadOnly(paths.database);
  const log = new LogReader(nodeFileSystem, paths.log);
  const progress = database.prepare('SELECT position FROM progress');
  const sizes = database.prepare(
    'SELECT count(*) AS counters, count(DISTINCT date) AS dates FROM counters',
  );
  const deadLetter = database.prepare('SELECT 1 FROM dead_letters WHERE position = ?');
  const replayed = database.prepare(selectReplayedPosition);
  const dataVersion = database.prepare('PRAGMA data_version');
  const countedThrough = () => Number(progress.get()?.['position']);
  return {
    /** See `readCounters`. Only one query at a time. */
    query: (query: CounterQuery) => readCounters(database, query),
    /** A number that changes with every commit, of any process. */
    dataVersion: () => Number(dataVersion.get()?.['data_version']),
    /** The number of counters and dates; reads all counters. */
    sizes(): CounterSizes {
      const row = sizes.get();
      return { rows: Number(row?.['counters']), dates: Number(row?.['dates']) };
    },
    /** The log is counted up to this position. */
    countedThrough,
    /** Whether the record at a position is a dead letter. */
    isDeadLetter: (position: LogPosition) => deadLetter.get(position) !== undefined,
    /** The position of a replayed batch, if it is counted. */
    positionOfReplayed(batchId: string): LogPosition | undefined {
      const row = replayed.get(batchId);
      return row === undefined ? undefined : Number(row['position']);
    },
    /** Bytes of the log that are not counted yet; reads them. */
    pendingBytes() {
      const counted = countedThrough();
      return log.endFrom(counted) - counted;
    },
    close() {
      log.close();
      database.close();
    },
  };
}
