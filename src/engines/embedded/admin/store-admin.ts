import type { OpenedCounters, StoreAdmin } from '../../../pipeline/store-admin.ts';
import { dataPaths } from '../data-directory.ts';
import { describeFailure } from '../failure-text.ts';
import { openStatsReader } from '../reader/stats-reader.ts';
import { dayZoneOf } from '../store/raw-batches.ts';
import { embeddedDeadLetters } from './dead-letters.ts';
import { embeddedRawBodies } from './raw-bodies.ts';
import { replayFacts, replayTarget } from './replay.ts';
import { embeddedVerification } from './verify.ts';

/** Opens a data directory for operators, whether or not a server runs on it. */
export function openDataDirectory(dataDir: string): StoreAdmin {
  const opened: { close(): void }[] = [];
  return {
    dayZone: () => dayZoneOf(dataDir),
    raw: embeddedRawBodies(dataDir),
    deadLetters: embeddedDeadLetters(dataDir),
    openCounters() {
      const reader = openStatsReader(dataDir);
      opened.push(reader);
      return countersOf(reader);
    },
    ...embeddedVerification(dataDir),
    replayFacts: () => replayFacts(dataDir),
    openReplayTarget: (sourceZone, warn) => replayTarget(dataDir, sourceZone, warn),
    explain: (error) => explainSqliteError(error, dataDir),
    close() {
      for (const each of opened) each.close();
    },
  };
}

function countersOf(reader: ReturnType<typeof openStatsReader>): OpenedCounters {
  return {
    pendingBytes: reader.pendingBytes(),
    query(query, take) {
      for (const rows of reader.query(query)) if (!take(rows)) return Promise.resolve(false);
      return Promise.resolve(true);
    },
  };
}

/** Replaces an error of SQLite by one that names the file and says what to do, in the words of `serve`. */
export function explainSqliteError(error: unknown, dataDir: string): unknown {
  const isOfDatabase = error instanceof Error && 'errcode' in error;
  if (!isOfDatabase) return error;
  return new Error(describeFailure(error, dataPaths(dataDir)), { cause: error });
}
