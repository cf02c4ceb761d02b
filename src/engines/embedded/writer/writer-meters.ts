import { durationBounds, Histogram, histogramMemory } from '../../../util/histogram.ts';
import type { FileSystem, LogFile } from '../log/file-system.ts';
import type { Connect, Platform } from './platform.ts';

/** Shared memory that the writer thread updates and the main thread reads. */
export interface MetersMemory {
  readonly commits: SharedArrayBuffer;
  readonly syncs: SharedArrayBuffer;
  readonly transactions: SharedArrayBuffer;
}

/** Durations of the writer's steps, in seconds. */
export interface WriterMeters {
  /** From the first byte written to the log until it is durable and can be acknowledged. */
  readonly commits: Histogram;
  /** Each sync of the log's files. */
  readonly syncs: Histogram;
  /** Each write transaction of SQLite, from its begin to its commit. */
  readonly transactions: Histogram;
}

export function metersMemory(): MetersMemory {
  return {
    commits: histogramMemory(durationBounds),
    syncs: histogramMemory(durationBounds),
    transactions: histogramMemory(durationBounds),
  };
}

export function writerMeters(memory: MetersMemory): WriterMeters {
  return {
    commits: new Histogram(durationBounds, memory.commits),
    syncs: new Histogram(durationBounds, memory.syncs),
    transactions: new Histogram(durationBounds, memory.transactions),
  };
}

/** A platform whose syncs and transactions are measured. */
export function meteredPlatform(platform: Platform, meters: WriterMeters): Platform {
  const { fileSystem, connect, elapsedMs } = platform;
  return {
    ...platform,
    fileSystem: {
      ...fileSystem,
      open: (path, mode) => meteredFile(fileSystem.open(path, mode), meters, elapsedMs),
    } satisfies FileSystem,
    connect: meteredConnect(connect, meters.transactions, elapsedMs),
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

function meteredConnect(connect: Connect, seen: Histogram, elapsedMs: () => number): Connect {
  return (path, timeoutMs) => {
    const database = connect(path, timeoutMs);
    const exec = database.exec.bind(database);
    let startedAt: number | undefined;
    database.exec = (sql) => {
      if (sql === 'BEGIN IMMEDIATE') startedAt = elapsedMs();
      exec(sql);
      if (sql === 'COMMIT' && startedAt !== undefined) {
        seen.observe((elapsedMs() - startedAt) / 1000);
        startedAt = undefined;
      }
    };
    return database;
  };
}
