import { setTimeout as delay } from 'node:timers/promises';

import { readRawKey } from '../../domain/batch-id.ts';
import { countOfDifferences } from '../../pipeline/findings.ts';
import type { Submission } from '../../pipeline/ports.ts';
import type {
  DeadLetters,
  DeadLetterSelection,
  DeadLetterView,
  OpenedCounters,
  RawBodies,
  RawEntry,
  ReceivedRange,
  ReplayFacts,
  ReplayTarget,
  StoreAdmin,
} from '../../pipeline/store-admin.ts';
import { withThousands } from '../../util/thousands.ts';
import { dataPaths } from './data-directory.ts';
import { describeFailure } from './failure-text.ts';
import { dayMs, embeddedDefaults } from './options.ts';
import { openStatsReader } from './reader/stats-reader.ts';
import {
  dropDeadLetters,
  listDeadLetters,
  redriveDeadLetters,
  type StoredDeadLetter,
} from './store/dead-letters.ts';
import type { RecordedDeadLetter } from './store/progress-row.ts';
import {
  dayZoneOf,
  findStoredBody,
  keptKeys,
  logEndOf,
  rawBatches,
  replayGaps,
  type KeptKeys,
} from './store/raw-batches.ts';
import { auditDataDirectory } from './verify/audit.ts';
import { dropReplacedTables, rebuildDataDirectory } from './verify/rebuild.ts';
import { Writer } from './writer/writer.ts';

/** Opens a data directory for operators, whether or not a server runs on it. */
export function openDataDirectory(dataDir: string): StoreAdmin {
  const opened: { close(): void }[] = [];
  return {
    dayZone: () => dayZoneOf(dataDir),
    raw: rawBodiesOf(dataDir),
    deadLetters: deadLettersOf(dataDir),
    openCounters() {
      const reader = openStatsReader(dataDir);
      opened.push(reader);
      return countersOf(reader);
    },
    ...verificationOf(dataDir),
    replayFacts: () => replayFactsOf(dataDir),
    openReplayTarget: (sourceZone, warn) => replayTargetOf(dataDir, sourceZone, warn),
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

/**
 * Replaces an error of SQLite by one that names the file and says what to do, with the same texts
 * as `serve`.
 */
export function explainSqliteError(error: unknown, dataDir: string): unknown {
  const isOfDatabase = error instanceof Error && 'errcode' in error;
  if (!isOfDatabase) return error;
  return new Error(describeFailure(error, dataPaths(dataDir)), { cause: error });
}

/** The raw bodies in the log, a page for each. */
function rawBodiesOf(dataDir: string): RawBodies {
  return {
    isRemote: false,
    list(range, options) {
      // Opened now, so that the caller creates nothing for a store that cannot be read.
      const kept = options?.keys === 'kept' ? keptKeys(dataDir) : undefined;
      return listEntries(dataDir, range, kept);
    },
    get(name) {
      const body = findStoredBody(dataDir, readRawKey(name)?.batchId ?? name);
      if (body === undefined) throw new Error(`${name} is not in the raw store of ${dataDir}.`);
      return body;
    },
  };
}

// oxlint-disable-next-line typescript/require-await -- reads synchronously
async function* listEntries(
  dataDir: string,
  range: ReceivedRange | undefined,
  kept: KeptKeys | undefined,
): AsyncGenerator<readonly RawEntry[]> {
  try {
    for (const { batch, damage } of rawBatches(dataDir, range)) {
      if (damage !== undefined) {
        const { from, to, offset, path } = damage;
        yield [{ damage: `${to - from} bytes at byte ${offset} of ${path} are damaged` }];
        continue;
      }
      const { rawKey, receivedAt, position: at } = batch;
      // The next batch overwrites the buffer.
      const body = Uint8Array.from(batch.body);
      const isKept = kept === undefined || kept.includes(batch);
      const details = isKept ? batch : { ...batch, idempotencyKey: undefined };
      const entry = { rawKey, receivedAt, at, bytes: body.length };
      yield [{ ...entry, details: () => details, load: () => ({ body, details }) }];
    }
  } finally {
    kept?.close();
  }
}

/** The dead letters in the database. Reading hides none of them, so the limit has no effect. */
function deadLettersOf(dataDir: string): DeadLetters {
  return {
    async list(_limit, show) {
      await show(listDeadLetters(dataDir).map(viewOf));
      return { isMore: false, hidden: 0 };
    },
    redrive(selection, report) {
      const { counted, failed } = redriveDeadLetters(dataDir, matching(selection), Date.now());
      for (const { batchId, reason, isRestored } of failed) {
        report(batchId, isRestored ? reason : `still not counted: ${reason}`);
      }
      const left = failed.map(({ batchId, reason }) => ({ id: batchId, reason }));
      return { how: 'counted', done: counted, left, isMore: false };
    },
    drop(selection) {
      const dropped = dropDeadLetters(dataDir, matching(selection), Date.now());
      return { dropped, countedBefore: undefined, isMore: false };
    },
  };
}

function matching({ isChosen }: DeadLetterSelection): (deadLetter: RecordedDeadLetter) => boolean {
  return ({ batchId, reason }) => isChosen([batchId], reason);
}

function viewOf(deadLetter: StoredDeadLetter): DeadLetterView {
  const { batchId, rawKey, items, reason, firstFailedAt, lastFailedAt, droppedAt } = deadLetter;
  const { body, encoding } = deadLetter;
  return {
    ...{ id: batchId, batchId: batchId || undefined, rawKey, index: undefined, items, reason },
    ...{ firstFailedAt, lastFailedAt, droppedAt, body, encoding },
  };
}

/** Audit and rebuild of a data directory; see `verify/`. */
function verificationOf(dataDir: string): Pick<StoreAdmin, 'audit' | 'rebuild' | 'dropReplaced'> {
  return {
    async audit({ dates, received, threads }, { onDifference, onProgress }) {
      const { batches, items, bytes, deadLetters, counters } = await auditDataDirectory({
        ...{ dataDir, dates, received, threads, onDifference },
        onProgress: (done, total) => onProgress(done, total, 'bytes'),
      });
      const note = `${withThousands(deadLetters)} dead letters are not counted`;
      return {
        ...{ items, batches, counters, unsettled: 0 },
        notes: deadLetters > 0 ? [note] : [],
        members: { batches, items, bytes, dead_letters: deadLetters, counters },
      };
    },

    rebuild({ dryRun, withoutDamaged }, { onDifference, onProgress }) {
      const { differences, isSwitched, damagedSpans } = rebuildDataDirectory({
        ...{ dataDir, dryRun, withoutDamaged, onDifference, now: Date.now },
        onProgress: (done, total) => onProgress(done, total, 'bytes'),
      });
      const note = `damaged ranges of the log recorded as dead letters: ${damagedSpans}`;
      return {
        isSwitched,
        notes: damagedSpans > 0 ? [note] : [],
        result: `counters rebuilt: ${countOfDifferences(differences)} to the old ones, which are kept until rebuild --drop-old`,
        members: { without_damaged: damagedSpans },
      };
    },

    dropReplaced: () => ({ wereKept: dropReplacedTables(dataDir) }),
  };
}

/** The facts about a data directory that a replay needs beside its raw bodies. */
function replayFactsOf(dataDir: string): ReplayFacts {
  const { removedBytes, deadLetters } = replayGaps(dataDir);
  const detail = `--keep-raw has deleted ${removedBytes} bytes of raw batches, which cannot be replayed.`;
  const missing = removedBytes > 0 ? detail : undefined;
  return { total: logEndOf(dataDir), deadLetters, missing, hasKeys: true };
}

/** Larger than any stored body. */
const bodyBytesMax = 1024 * 1024 * 1024;
/** Expires no keys: the server does that by its own settings. */
const keepKeysMs = 36_500 * dayMs;

/** A data directory without a running server; a new one adopts the day rule `newDayZone`. */
function replayTargetOf(
  dataDir: string,
  newDayZone: string | undefined,
  warn: (message: string) => void,
): ReplayTarget {
  let failure: string | undefined;
  const writer = Writer.open(
    { ...embeddedDefaults, bodyBytesMax, keepKeysMs, dataDir, newDayZone },
    {
      onProgress: () => undefined,
      onFailure: (message) => (failure = message),
      onUnexpectedError: warn,
    },
  );
  const throwFailure = () => {
    if (failure !== undefined) throw new Error(failure);
  };
  const isBehind = () => {
    const { countedThrough, durableEnd } = writer.progress();
    return failure === undefined && countedThrough < durableEnd;
  };
  return {
    ...{ name: dataDir, dayZone: writer.dayZone, check: `audit --data-dir ${dataDir}` },
    async ingest(submission: Submission) {
      const outcome = await writer.ingest(submission);
      throwFailure();
      return outcome;
    },
    async close() {
      while (isBehind()) await delay(20);
      await writer.close();
      throwFailure();
    },
  };
}
