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

/** Reads the counters of a data directory, with or without a server running on it. */
interface StatsReader {
  /**
   * Pieces of rows by date, then by type and state in UTF-8 byte order of their sort key; they
   * show one state of the counters, which is held until the last is read; one query at a time.
   */
  query(query: CounterQuery): Generator<readonly CounterRow[]>;
  /** The first and the last date that have counters; undefined where none has. */
  dates(): { readonly first: string; readonly last: string } | undefined;
  /** Another number whenever anything has been changed, by whomever. */
  dataVersion(): number;
  /** How many there are; reads all of them. */
  sizes(): CounterSizes;
  /** The position through which the log is counted. */
  countedThrough(): LogPosition;
  /** Whether the record at a position could not be counted. */
  isDeadLetter(position: LogPosition): boolean;
  /** Where a batch that came from another installation stands in the log, if it is counted. */
  positionOfReplayed(batchId: string): LogPosition | undefined;
  /** Bytes of the log that are not counted yet. Reads them. */
  pendingBytes(): number;
  close(): void;
}

/** @throws where the directory holds no pipeline. */
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
