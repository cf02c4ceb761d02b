import { dataPaths } from '../data-directory.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { LogPosition } from '../log/frame.ts';
import { LogDamaged, noRecordAt, RemovalNotRecorded } from '../log/recovery.ts';
import { logLocation, scanLog } from '../log/scan-log.ts';
import type { Platform } from './platform.ts';
import { RecordCounter } from '../store/record-counter.ts';
import type { SegmentedLog } from '../log/segmented-log.ts';
import type { SqliteCounterStore } from '../store/counter-store.ts';
import { isSqliteBusy } from '../store/sqlite-errors.ts';

const intervalMs = 60_000;
/** How exactly it is known how old places of the log are: expiry comes so much later at most. */
const ageNoteMs = 3_600_000;
/** While more is to be cleared away than is done in one step. */
const continueMs = 50;
const keysPerStep = 1_000;
/** Read in one step of counting what is to be removed: some ten milliseconds' worth. */
const removalBytesPerStep = 1024 * 1024;

interface MaintenanceOptions {
  readonly store: SqliteCounterStore;
  readonly log: SegmentedLog;
  readonly options: EmbeddedOptions;
  readonly platform: Platform;
  readonly onFailure: (error: unknown) => void;
  readonly onUnexpectedError: (message: string) => void;
}

/** Clears away what is old: keys, and raw bodies where they are not kept for good. */
export class Maintenance {
  readonly #store: SqliteCounterStore;
  readonly #log: SegmentedLog;
  readonly #options: EmbeddedOptions;
  readonly #platform: Platform;
  readonly #onFailure: (error: unknown) => void;
  readonly #onUnexpectedError: (message: string) => void;
  #cancel: () => void = () => undefined;
  #hasStopped = false;
  /** What is damaged can not be told apart from what nobody can explain: it is not removed. */
  #isRemoving = true;
  #removedRecords: RecordCounter | undefined;

  constructor({ store, log, options, platform, onFailure, onUnexpectedError }: MaintenanceOptions) {
    this.#store = store;
    this.#log = log;
    this.#options = options;
    this.#platform = platform;
    this.#onFailure = onFailure;
    this.#onUnexpectedError = onUnexpectedError;
  }

  /** Now, and from then on until `end`. */
  run(): void {
    if (this.#hasStopped) return;
    const delayMs = this.#maintain() ? continueMs : intervalMs;
    this.#cancel = this.#platform.runLater(() => this.run(), delayMs);
  }

  stop(): void {
    this.#hasStopped = true;
    this.#cancel();
  }

  /** Says whether there is more to do. */
  #maintain(): boolean {
    const { keepKeysMs, keepRawMs } = this.#options;
    const { age } = this.#store;
    try {
      this.#store.refreshDeadLetterCount();
      this.#store.shrinkJournal();
      // What is counted stays in the log: a place behind it may be written again, by a later batch.
      age.note(this.#store.position, Math.min(ageNoteMs, keepRawMs ?? ageNoteMs));
      const expired = this.#store.expireKeys(age.positionAtAge(keepKeysMs), keysPerStep);
      if (expired === keysPerStep) return true;
      if (keepRawMs === undefined || !this.#isRemoving) return false;
      return this.#removeOldSegments(age.positionAtAge(keepRawMs));
    } catch (error) {
      if (!isSqliteBusy(error)) this.#onFailure(error);
      return false;
    }
  }

  /**
   * Removes the segments before a position, once what they counted is noted apart: an audit must
   * be able to tell it from what nobody can explain. Says whether there is more to do.
   */
  #removeOldSegments(old: LogPosition): boolean {
    // What a power failure may take from the database must stay in the log.
    const durable = this.#store.checkpoint();
    if (durable === undefined) return false;
    const through = Math.min(durable, this.#log.removableThrough(old));
    const noted = this.#store.removedThrough;
    if (noted < through) {
      try {
        return this.#recordRemoved(noted, through);
      } catch (error) {
        if (!(error instanceof LogDamaged || error instanceof RemovalNotRecorded)) throw error;
        this.#isRemoving = false;
        this.#onUnexpectedError(`${error.message} Old segments are kept until that is mended.`);
        return false;
      }
    }
    this.#log.removeSegments(Math.min(noted, through));
    return false;
  }

  #recordRemoved(from: LogPosition, through: LogPosition): boolean {
    const counter = (this.#removedRecords ??= new RecordCounter(this.#log.dayZone));
    let to = from;
    const { fileSystem } = this.#platform;
    const directory = dataPaths(this.#options.dataDir).log;
    const place = logLocation(fileSystem, directory, this.#log);
    for (const found of scanLog({ ...place, from, through })) {
      // What was never counted is among the dead letters, and stays there.
      if (found.damage === undefined) {
        if (!this.#store.isDeadLetter(found.record.position)) counter.count(found.record);
      } else if (!this.#store.isDeadLetter(found.damage.from)) {
        const { from: place, to: end, isFileMissing } = found.damage;
        throw isFileMissing ? new RemovalNotRecorded(end) : noRecordAt(place);
      }
      to = found.end;
      if (to - from >= removalBytesPerStep || counter.isFull) break;
    }
    this.#store.recordRemoved(counter.takeIncrements(), to);
    return true;
  }
}
