import { durationBounds, Histogram, histogramMemory } from '../../../util/histogram.ts';
import type { FileSystem, LogFile } from '../log/file-system.ts';
import type { Platform } from './platform.ts';

/** Durations of the writer's steps, in seconds. */
export interface WriterMeters {
  /**
   * The time from the first byte written to the log until it is durable and can be acknowledged.
   */
  readonly commits: Histogram;
  /** The time of each sync of the log's files. */
  readonly syncs: Histogram;
  /** The time of each write transaction of SQLite, from its begin to its commit. */
  readonly transactions: Histogram;
}

/** Shared memory that the writer thread updates and the main thread reads. */
export type MetersMemory = Readonly<Record<keyof WriterMeters, SharedArrayBuffer>>;

export function metersMemory(): MetersMemory {
  const memory = () => histogramMemory(durationBounds);
  return { commits: memory(), syncs: memory(), transactions: memory() };
}

export function writerMeters({ commits, syncs, transactions }: MetersMemory): WriterMeters {
  const meter = (memory: SharedArrayBuffer) => new Histogram(durationBounds, memory);
  return { commits: meter(commits), syncs: meter(syncs), transactions: meter(transactions) };
}

/** A platform whose syncs and transactions are measured. */
export function meteredPlatform(platform: Platform, meters: WriterMeters): Platform {
  const { fileSystem, elapsedMs } = platform;
  return {
    ...platform,
    fileSystem: {
      ...fileSystem,
      open: (path, mode) => meteredFile(fileSystem.open(path, mode), meters, elapsedMs),
    } satisfies FileSystem,
    onTransaction: (milliseconds) => meters.transactions.observe(milliseconds / 1000),
  };
}

function meteredFile(file: LogFile, meters: WriterMeters, elapsedMs: () => number): LogFile {
  let writtenSince: number | undefined;
  const beginSync = () => {
    const syncedSince = elapsedMs();
    const since = writtenSince ?? syncedSince;
    writtenSince = undefined;
    return () => {
      const now = elapsedMs();
      meters.syncs.observe((now - syncedSince) / 1000);
      meters.commits.observe((now - since) / 1000);
    };
  };
  return {
    ...file,
    write(bytes, offset) {
      writtenSince ??= elapsedMs();
      return file.write(bytes, offset);
    },
    sync() {
      const end = beginSync();
      file.sync();
      end();
    },
    startSync(done) {
      const end = beginSync();
      file.startSync((error) => {
        if (error === null) end();
        done(error);
      });
    },
  };
}
