import type { Backlog } from './backlog.ts';
import type { CounterAdmission } from './counter-admission.ts';
import { dataPaths } from '../data-directory.ts';
import type { EmbeddedOptions } from '../options.ts';
import { keyOf, replayedOf } from './processor.ts';
import type { LogIdentity } from '../log/segment.ts';
import type { Platform } from './platform.ts';
import { SegmentedLog } from '../log/segmented-log.ts';
import type { KeyedBatch, ReplayedRecord, SqliteCounterStore } from '../store/counter-store.ts';

interface OpenLogOptions {
  readonly options: EmbeddedOptions;
  readonly platform: Platform;
  /** The identity of the existing log, if there is one. */
  readonly identity: LogIdentity | undefined;
  /** The day rule of the log. */
  readonly dayZone: string;
  readonly store: SqliteCounterStore;
  readonly admission: CounterAdmission;
  readonly backlog: Backlog;
}

/**
 * Opens the log and checks that the store's counters belong to it. Adds its uncounted records to the
 * admission and the backlog, and returns their keys and replayed ids.
 * @throws if the counters belong to another log, and what `SegmentedLog.open` throws.
 */
export function openLog(parts: OpenLogOptions) {
  const { options, identity, dayZone, store, admission, backlog } = parts;
  const { fileSystem, now } = parts.platform;
  const directory = dataPaths(options.dataDir).log;
  const known = store.logId();
  // Check also before opening: recovery relies on the counters' position.
  if (known !== undefined && identity?.logId.equals(known) === false) throw ofAnotherLog();
  const uncountedKeys: (KeyedBatch & { end: number })[] = [];
  const uncountedReplays: (ReplayedRecord & { end: number })[] = [];
  const log = SegmentedLog.open({
    directory,
    fileSystem,
    segmentBytes: options.segmentBytes,
    allocateBytes: options.allocateBytes,
    dayZone,
    countedThrough: store.position,
    removedThrough: store.removedThrough,
    acceptedDamage: store.acceptedDamage(),
    onUncounted: (scanned) => {
      const { record, end } = scanned;
      backlog.add(end, record.accepted, record.receivedAt);
      admission.addUncounted(scanned);
      const key = keyOf(record);
      if (key !== undefined) uncountedKeys.push({ ...key, end });
      const origin = replayedOf(record);
      if (origin !== undefined) uncountedReplays.push({ ...origin, end });
    },
    now,
  });
  admission.finishUncounted();
  if (known === undefined) store.adoptLog(log.logId);
  else if (!log.logId.equals(known)) {
    log.close();
    throw ofAnotherLog();
  }
  const countedStarts = () => log.segmentStarts().filter(({ base }) => base <= store.position);
  store.age.adoptSegments(countedStarts, now());
  return { log, uncountedKeys, uncountedReplays };
}

function ofAnotherLog(): Error {
  return new Error(
    'pipeline.db holds the counters of another log. Put the log and the database of one data directory together again.',
  );
}
