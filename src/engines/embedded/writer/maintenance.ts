import { dataPaths } from '../data-directory.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { LogPosition } from '../log/frame.ts';
import { LogDamaged, noRecordAt, RemovedUnnoted } from '../log/recovery.ts';
import { placeOfLog, surveyLog } from '../log/scan-log.ts';
import type { Platform } from './platform.ts';
import { RecordCounter } from '../store/record-counter.ts';
import type { SegmentedLog } from '../log/segmented-log.ts';
import type { SqliteCounterStore } from '../store/counter-store.ts';
import { isSqliteBusy } from '../store/sqlite-errors.ts';

const intervalMs = 60_000;
/** How exactly it is known how old places of the log are: expiry comes so much later at most. */
const markMs = 3_600_000;
/** While more is to be cleared away than is done in one step. */
const againMs = 50;
const expireKeysAtOnce = 1_000;
/** Read in one step of counting what is to be removed: some ten milliseconds' worth. */
const removeBytesAtOnce = 1024 * 1024;

interface MaintenanceParts {
  readonly store: SqliteCounterStore;
  readonly log: SegmentedLog;
  readonly options: EmbeddedOptions;
  readonly platform: Platform;
  readonly onFailure: (error: unknown) => void;
  readonly onDefect: (message: string) => void;
}

/** Clears away what is old: keys, and raw bodies where they are not kept for good. */
export class Maintenance {
  readonly #store: SqliteCounterStore;
  readonly #log: SegmentedLog;
  readonly #options: EmbeddedOptions;
  readonly #platform: Platform;
  readonly #onFailure: (error: unknown) => void;
  readonly #onDefect: (message: string) => void;
  #cancel: () => void = () => undefined;
  #hasEnded = false;
  /** What is damaged can not be told apart from what nobody can explain: it is not removed. */
  #isRemoving = true;
  #removedRecords: RecordCounter | undefined;

  constructor({ store, log, options, platform, onFailure, onDefect }: MaintenanceParts) {
    this.#store = store;
    this.#log = log;
    this.#options = options;
    this.#platform = platform;
    this.#onFailure = onFailure;
    this.#onDefect = onDefect;
  }

  /** Now, and from then on until `end`. */
  run(): void {
    if (this.#hasEnded) return;
    const delayMs = this.#maintain() ? againMs : intervalMs;
    this.#cancel = this.#platform.runLater(() => this.run(), delayMs);
  }

  end(): void {
    this.#hasEnded = true;
    this.#cancel();
  }

  /** Says whether there is more to do. */
  #maintain(): boolean {
    const { keepKeysMs, keepRawMs } = this.#options;
    const { age } = this.#store;
    try {
      this.#store.lookUpDeadLetters();
      this.#store.shrinkJournal();
      // What is counted stays in the log: a place behind it may be written again, by a later batch.
      age.mark(this.#store.position, Math.min(markMs, keepRawMs ?? markMs));
      const expired = this.#store.expireKeys(age.positionAtAge(keepKeysMs), expireKeysAtOnce);
      if (expired === expireKeysAtOnce) return true;
      if (keepRawMs === undefined || !this.#isRemoving) return false;
      return this.#removeOld(age.positionAtAge(keepRawMs));
    } catch (error) {
      if (!isSqliteBusy(error)) this.#onFailure(error);
      return false;
    }
  }

  /**
   * Removes the segments before a position, once what they counted is noted apart: an audit must
   * be able to tell it from what nobody can explain. Says whether there is more to do.
   */
  #removeOld(old: LogPosition): boolean {
    // What a power failure may take from the database must stay in the log.
    const durable = this.#store.checkpoint();
    if (durable === undefined) return false;
    const through = Math.min(durable, this.#log.removableThrough(old));
    const noted = this.#store.removedThrough;
    if (noted < through) {
      try {
        return this.#noteRemoved(noted, through);
      } catch (error) {
        if (!(error instanceof LogDamaged || error instanceof RemovedUnnoted)) throw error;
        this.#isRemoving = false;
        this.#onDefect(`${error.message} Old segments are kept until that is mended.`);
        return false;
      }
    }
    this.#log.removeSegments(Math.min(noted, through));
    return false;
  }

  #noteRemoved(from: LogPosition, through: LogPosition): boolean {
    const counter = (this.#removedRecords ??= new RecordCounter(this.#log.dayZone));
    let to = from;
    const { fileSystem } = this.#platform;
    const directory = dataPaths(this.#options.dataDir).log;
    const place = placeOfLog(fileSystem, directory, this.#log);
    for (const found of surveyLog({ ...place, from, through })) {
      // What was never counted is among the dead letters, and stays there.
      if (found.damage === undefined) {
        if (!this.#store.isDeadLetter(found.record.position)) counter.count(found.record);
      } else if (!this.#store.isDeadLetter(found.damage.from)) {
        const { from: place, to: end, isFileMissing } = found.damage;
        throw isFileMissing ? new RemovedUnnoted(end) : noRecordAt(place);
      }
      to = found.end;
      if (to - from >= removeBytesAtOnce || counter.isFull) break;
    }
    this.#store.noteRemoved(counter.takeTally(), to);
    return true;
  }
}
