import type { CounterRow } from '../../../domain/counter.ts';
import type { CounterQuery } from '../../../pipeline/ports.ts';
import { readCounters } from '../store/counter-rows.ts';
import { dataPaths } from '../data-directory.ts';
import { nodeFileSystem } from '../log/file-system.ts';
import type { LogPosition } from '../log/frame.ts';
import { LogReader } from '../log/log-reader.ts';
import type { CounterSizes } from '../writer/messages.ts';
import { selectReplayedPosition } from '../store/counter-store.ts';
import { openDatabaseReadOnly } from '../store/read-only-database.ts';

/** Reads the counters of a data directory, also while a server runs. */
interface StatsReader {
  /**
   * See `readCounters`. Only one query at a time.
   */
  query(query: CounterQuery): Generator<readonly CounterRow[]>;
  /** The first and the last date with counters; undefined if there are none. */
  dates(): { readonly first: string; readonly last: string } | undefined;
  /** A number that changes with every commit, of any process. */
  dataVersion(): number;
  /** The number of counters and dates; reads all counters. */
  sizes(): CounterSizes;
  /** The log is counted up to this position. */
  countedThrough(): LogPosition;
  /** Whether the record at a position is a dead letter. */
  isDeadLetter(position: LogPosition): boolean;
  /** The position of a replayed batch, if it is counted. */
  positionOfReplayed(batchId: string): LogPosition | undefined;
  /** Bytes of the log that are not counted yet; reads them. */
  pendingBytes(): number;
  close(): void;
}

/** @throws if there is no pipeline in the directory. */
export function openStatsReader(dataDir: string): StatsReader {
  const paths = dataPaths(dataDir);
  const database = openDatabaseReadOnly(paths.database);
  const log = new LogReader(nodeFileSystem, paths.log);
  const progress = database.prepare('SELECT position FROM progress');
  const dates = database.prepare('SELECT min(date) AS first, max(date) AS last FROM counters');
  const sizes = database.prepare(
    'SELECT count(*) AS counters, count(DISTINCT date) AS dates FROM counters',
  );
  const deadLetter = database.prepare('SELECT 1 FROM dead_letters WHERE position = ?');
  const dataVersion = database.prepare('PRAGMA data_version');
  const countedThrough = () => Number(progress.get()?.['position']);
  return {
    query: (query) => readCounters(database, query),
    dates() {
      const row = dates.get();
      if (typeof row?.['first'] !== 'string') return undefined;
      return { first: row['first'], last: String(row['last']) };
    },
    dataVersion: () => Number(dataVersion.get()?.['data_version']),
    sizes() {
      const row = sizes.get();
      return { rows: Number(row?.['counters']), dates: Number(row?.['dates']) };
    },
    countedThrough,
    isDeadLetter: (position) => deadLetter.get(position) !== undefined,
    positionOfReplayed(batchId) {
      const row = database.prepare(selectReplayedPosition).get(batchId);
      return row === undefined ? undefined : Number(row['position']);
    },
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
