import { dataPaths } from '../data-directory.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { LogPosition } from '../log/frame.ts';
import { LogDamaged, noRecordAt, RemovalNotRecorded } from '../log/recovery.ts';
import { logLocation, scanLog } from '../log/scan-log.ts';
import type { Platform } from './platform.ts';
import { RecordCounter } from '../store/record-counter.ts';
import type { SegmentedLog } from '../log/segmented-log.ts';
import type { SqliteCounterStore } from '../store/counter-store.ts';
import { isSqliteBusy } from '../../../util/sqlite.ts';

const intervalMs = 60_000;
/** Interval of the log's age entries, in milliseconds; expiry is late by at most that. */
const ageNoteMs = 3_600_000;
/** Delay between steps while there is more to do. */
const continueMs = 50;
const keysPerStep = 1_000;
/** Bytes of records counted per step before their removal: some ten milliseconds of work. */
const removalBytesPerStep = 1024 * 1024;

interface MaintenanceOptions {
  readonly store: SqliteCounterStore;
  readonly log: SegmentedLog;
  readonly options: EmbeddedOptions;
  readonly platform: Platform;
  /**
   * Segments before this position may be removed: the archive, if there is one, does not need them.
   */
  readonly releasedEnd: () => LogPosition;
  readonly onFailure: (error: unknown) => void;
  readonly onUnexpectedError: (message: string) => void;
}

/** Expires idempotency keys, and removes old segments if retention (--keep-raw) is set. */
export class Maintenance {
  readonly #parts: MaintenanceOptions;
  #cancel: () => void = () => undefined;
  #hasStopped = false;
  /** False once damage was found: removing damaged segments would make the counters unexplainable. */
  #isRemoving = true;
  #removedRecords: RecordCounter | undefined;

  constructor(parts: MaintenanceOptions) {
    this.#parts = parts;
  }

  /** Runs one step now, and further ones until `stop`. */
  run(): void {
    if (this.#hasStopped) return;
    const delayMs = this.#maintain() ? continueMs : intervalMs;
    this.#cancel = this.#parts.platform.runLater(() => this.run(), delayMs);
  }

  stop(): void {
    this.#hasStopped = true;
    this.#cancel();
  }

  /** Returns whether there is more to do. */
  #maintain(): boolean {
    const { keepKeysMs, keepRawMs } = this.#parts.options;
    const { age } = this.#parts.store;
    try {
      this.#parts.store.refreshDeadLetterCount();
      this.#parts.store.shrinkJournal();
      // Only counted positions are final: recovery may cut off later ones, and other records take them.
      age.note(this.#parts.store.position, Math.min(ageNoteMs, keepRawMs ?? ageNoteMs));
      const expired = this.#parts.store.expireKeys(age.positionAtAge(keepKeysMs), keysPerStep);
      if (expired === keysPerStep) return true;
      if (keepRawMs === undefined || !this.#isRemoving) return false;
      return this.#removeOldSegments(age.positionAtAge(keepRawMs));
    } catch (error) {
      if (!isSqliteBusy(error)) this.#parts.onFailure(error);
      return false;
    }
  }

  /**
   * Removes the segments before a position, after their increments are in `removed_counters`, so that
   * an audit can still explain the counters. Returns whether there is more to do.
   */
  #removeOldSegments(old: LogPosition): boolean {
    // Commits that a power failure may undo must stay in the log.
    const durable = this.#parts.store.checkpoint();
    if (durable === undefined) return false;
    const archived = this.#parts.releasedEnd();
    const through = this.#parts.log.removableThrough(Math.min(durable, archived, old));
    const recorded = this.#parts.store.removedThrough;
    if (recorded < through) {
      try {
        return this.#recordRemoved(recorded, through);
      } catch (error) {
        if (!(error instanceof LogDamaged || error instanceof RemovalNotRecorded)) throw error;
        this.#isRemoving = false;
        this.#parts.onUnexpectedError(
          `${error.message} Old segments are kept until the damage is repaired.`,
        );
        return false;
      }
    }
    this.#parts.log.removeSegments(Math.min(recorded, through));
    return false;
  }

  #recordRemoved(from: LogPosition, through: LogPosition): boolean {
    const counter = (this.#removedRecords ??= new RecordCounter(this.#parts.log.dayZone));
    let to = from;
    const { fileSystem } = this.#parts.platform;
    const directory = dataPaths(this.#parts.options.dataDir).log;
    const place = logLocation(fileSystem, directory, this.#parts.log);
    for (const found of scanLog({ ...place, from, through })) {
      // Dead letters were never counted, and stay dead letters.
      if (found.damage === undefined) {
        if (!this.#parts.store.isDeadLetter(found.record.position)) counter.count(found.record);
      } else if (!this.#parts.store.isDeadLetter(found.damage.from)) {
        const { from: place, to: end, isFileMissing } = found.damage;
        throw isFileMissing ? new RemovalNotRecorded(end) : noRecordAt(place);
      }
      to = found.end;
      if (to - from >= removalBytesPerStep || counter.isFull) break;
    }
    this.#parts.store.recordRemoved(counter.takeIncrements(), to);
    return true;
  }
}
