import { setTimeout as delay } from 'node:timers/promises';

import { notPlain } from '../../domain/batch-scanner.ts';
import { ingest } from '../../pipeline/ingest.ts';
import { Unavailable, type IngestOutcome, type Submission } from '../../pipeline/ports.ts';
import { replay } from '../../pipeline/replay.ts';
import { dataPaths, takeDataDirectory, type DirectoryLock } from './data-directory.ts';
import type { EmbeddedOptions } from './engine-options.ts';
import { describeFailure } from './failures.ts';
import { nodeFileSystem } from './file-system.ts';
import { LogIntake } from './log-intake.ts';
import type { LogPosition } from './log-frame.ts';
import { keyOf, LogProcessor, replayedOf, type CountingState } from './log-processor.ts';
import { LogDamaged, noRecordAt } from './log-recovery.ts';
import { LogReader } from './log-reader.ts';
import { readLogId, saltOfLog } from './log-segment.ts';
import { surveyLog } from './log-survey.ts';
import type { Progress } from './messages.ts';
import { RecordCounter } from './record-counter.ts';
import { SegmentedLog } from './segmented-log.ts';
import { SqliteCounterStore, type KeyedBatch, type ReplayedBatch } from './sqlite-counter-store.ts';
import { isSqliteBusy } from './sqlite-errors.ts';
import type { Verdict } from './submission-ring.ts';
import { openDatabase } from './sqlite-schema.ts';

export interface WriterEvents {
  readonly onProgress: (progress: Progress) => void;
  /** The writer takes nothing more; the message says why and what to do. */
  readonly onFailure: (message: string) => void;
  /** Something is wrong and the writer goes on. */
  readonly onDefect: (message: string) => void;
}

const busyDelayMs = 100;
const maintenanceMs = 60_000;
const expireKeysAtOnce = 1_000;
/** While more is to be cleared away than is done in one step. */
const maintainAgainMs = 50;
/** Read in one step of counting what is to be removed: some ten milliseconds' worth. */
const removeBytesAtOnce = 1024 * 1024;
/** A stop waits so long for what is stored to be counted; the rest is counted after the start. */
const drainMs = 5_000;

/** The one owner of a data directory: takes batches in, counts them, and clears away what is old. */
export class Writer {
  readonly #options: EmbeddedOptions;
  readonly #events: WriterEvents;
  readonly #lock: DirectoryLock;
  readonly #log: SegmentedLog;
  readonly #store: SqliteCounterStore;
  readonly #reader: LogReader;
  readonly #intake: LogIntake;
  readonly #processor: LogProcessor;
  readonly #maintenance: NodeJS.Timeout;
  #isPumpDue = false;
  /** Counting was due while more was held than was durable. */
  #isCountDue = false;
  #hasFailed = false;
  /** What is damaged can not be told apart from what nobody can explain: it is not removed. */
  #isRemoving = true;
  #removedRecords: RecordCounter | undefined;

  /** @throws an Error whose message says what is wrong and what to do. */
  static open(options: EmbeddedOptions, events: WriterEvents): Writer {
    const paths = dataPaths(options.dataDir);
    const lock = takeDataDirectory(paths);
    try {
      return new Writer(options, events, lock);
    } catch (error) {
      lock.release();
      throw new Error(describeFailure(error, paths), { cause: error });
    }
  }

  private constructor(options: EmbeddedOptions, events: WriterEvents, lock: DirectoryLock) {
    this.#options = options;
    this.#events = events;
    this.#lock = lock;
    const paths = dataPaths(options.dataDir);
    this.#store = new SqliteCounterStore(openDatabase(paths.database));
    const { log, uncountedKeys, uncountedReplays } = openLog(options, this.#store);
    this.#log = log;
    this.#reader = new LogReader(nodeFileSystem, paths.log);
    this.#processor = new LogProcessor({
      store: this.#store,
      reader: this.#reader,
      durableEnd: () => log.durableEnd,
      onCounted: (through) => {
        this.#intake.forgetKeys(through);
        this.#events.onProgress(this.progress());
      },
      now: Date.now,
    });
    this.#intake = new LogIntake(
      {
        log,
        findKey: (caller, key) => this.#read(() => this.#store.findKey(caller, key)),
        placeOfReplayed: (batchId) => this.#read(() => this.#store.findReplayed(batchId)),
        recordAt: (position) => this.#reader.recordAt(position),
        countedThrough: () => this.#store.position,
        onDurable: (delivery) => {
          this.#processor.offer(delivery);
          this.#schedulePump(options.countDelayMs);
        },
        onFailure: (error) => this.#fail(error),
        defer: queueMicrotask,
        now: Date.now,
        keepKeysMs: options.keepKeysMs,
        backlogBytesMax: options.backlogBytesMax,
      },
      uncountedKeys,
      uncountedReplays,
    );
    this.#schedulePump(0);
    this.#maintain();
    this.#maintenance = setInterval(() => this.#maintain(), maintenanceMs);
  }

  get tornBytes(): number {
    return this.#log.tornBytes;
  }

  progress(): Progress {
    return {
      durableEnd: this.#log.durableEnd,
      countedThrough: this.#store.position,
      deadLetters: this.#store.deadLetters,
    };
  }

  ingest(submission: Submission): Promise<IngestOutcome> {
    const rules = { bodyBytesMax: this.#options.bodyBytesMax };
    const { replayOf } = submission;
    return replayOf === undefined
      ? ingest(submission, this.#intake, rules)
      : replay(submission, replayOf, this.#intake, rules);
  }

  /**
   * Stages the batch whose body, of the common shape, is `bytes` from `at` on: it is accepted as
   * soon as a commit has said so. Undefined where `ingest` has to look at it.
   */
  takePlain(bytes: Uint8Array, at: number, length: number, caller: string): Verdict | undefined {
    const callerBytes = caller === '' ? 0 : Buffer.byteLength(caller);
    if (length > this.#options.bodyBytesMax || !this.#log.hasRoomFor(callerBytes + length)) {
      return undefined;
    }
    const enqueued = this.#processor.scan(bytes, at, at + length);
    if (enqueued === notPlain) return undefined;
    const staged = this.#intake.stagePlain(bytes.subarray(at, at + length), enqueued, caller);
    if (staged === undefined) return undefined;
    this.#processor.takeScanned({ from: staged.previousEnd, to: staged.end });
    return { batchId: staged.batchId, receivedAt: staged.receivedAt, enqueued };
  }

  /** Makes all that is staged durable. Says whether it is. */
  commit(): boolean {
    return this.#afterCommit(this.#intake.commit());
  }

  /**
   * The same in the background. Until it resolves, `takePlain` may be called, and nothing else
   * that stages or commits.
   */
  async startCommit(): Promise<boolean> {
    return this.#afterCommit(await this.#intake.startCommit());
  }

  /** Whether all that is staged should be made durable now, so that it can be counted. */
  get isCountDue(): boolean {
    return this.#isCountDue || this.#processor.isFull;
  }

  #afterCommit(isDurable: boolean): boolean {
    if (isDurable && this.isCountDue) this.#pump();
    else if (isDurable) this.#schedulePump(this.#options.countDelayMs);
    return isDurable;
  }

  /** Counts what is stored, if that can be done soon, and lets the directory go. */
  async close(): Promise<void> {
    clearInterval(this.#maintenance);
    this.#intake.commit();
    const deadline = Date.now() + drainMs;
    while (!this.#hasFailed && Date.now() < deadline) {
      const state = await this.#step();
      if (state === 'idle') break;
      if (state === 'busy') await delay(busyDelayMs);
    }
    this.#hasFailed = true;
    this.#reader.close();
    this.#log.close();
    this.#store.close();
    this.#lock.release();
  }

  /** @throws {Unavailable} */
  #read<T>(find: () => T): T {
    try {
      return find();
    } catch (error) {
      if (!isSqliteBusy(error)) this.#fail(error);
      throw new Unavailable(
        'storage_failed',
        'What earlier batches were cannot be read. Nothing of this batch was stored; send it again, with the same Idempotency-Key.',
        { cause: error },
      );
    }
  }

  #schedulePump(delayMs: number): void {
    if (this.#isPumpDue || this.#hasFailed) return;
    this.#isPumpDue = true;
    const pump = () => {
      this.#isPumpDue = false;
      this.#pump();
    };
    if (delayMs === 0) setImmediate(pump);
    else setTimeout(pump, delayMs);
  }

  /** Counts a piece, and comes back for what is left. */
  #pump(): void {
    void this.#step().then((state) => {
      if (state === 'behind') this.#schedulePump(0);
      if (state === 'busy') this.#schedulePump(busyDelayMs);
    });
  }

  async #step(): Promise<CountingState> {
    if (this.#hasFailed) return 'idle';
    try {
      const state = await this.#processor.step();
      this.#isCountDue = state === 'undurable';
      return state;
    } catch (error) {
      this.#fail(error);
      return 'idle';
    }
  }

  #maintain(): void {
    if (this.#hasFailed) return;
    const { keepKeysMs, keepRawMs } = this.#options;
    try {
      this.#store.lookUpDeadLetters();
      const expired = this.#store.expireKeys(Date.now() - keepKeysMs, expireKeysAtOnce);
      let isMoreToDo = expired === expireKeysAtOnce;
      if (keepRawMs !== undefined && this.#isRemoving)
        isMoreToDo ||= this.#removeOld(Date.now() - keepRawMs);
      if (isMoreToDo) setTimeout(() => this.#maintain(), maintainAgainMs);
    } catch (error) {
      if (!isSqliteBusy(error)) this.#fail(error);
    }
  }

  /**
   * Removes segments closed before a time, once what they counted is noted apart: an audit must
   * be able to tell it from what nobody can explain. Says whether there is more to do.
   */
  #removeOld(closedBefore: number): boolean {
    // What a power failure may take from the database must stay in the log.
    const durable = this.#store.checkpoint();
    if (durable === undefined) return false;
    const through = Math.min(durable, this.#log.removableThrough(closedBefore));
    const noted = this.#store.removedThrough;
    if (noted < through) {
      try {
        return this.#noteRemoved(noted, through);
      } catch (error) {
        if (!(error instanceof LogDamaged)) throw error;
        this.#isRemoving = false;
        this.#events.onDefect(`${error.message} Old segments are kept until that is mended.`);
        return false;
      }
    }
    this.#log.removeSegments(Math.min(noted, through), closedBefore);
    return false;
  }

  #noteRemoved(from: LogPosition, through: LogPosition): boolean {
    const counter = (this.#removedRecords ??= new RecordCounter());
    let to = from;
    const fileSystem = nodeFileSystem;
    const directory = dataPaths(this.#options.dataDir).log;
    const salt = saltOfLog(this.#log.logId);
    for (const found of surveyLog({ fileSystem, directory, salt, from, through })) {
      // What was never counted is among the dead letters, and stays there.
      if (found.damage === undefined) {
        if (!this.#store.isDeadLetter(found.record.position)) counter.count(found.record);
      } else if (!this.#store.isDeadLetter(found.damage.from)) {
        throw noRecordAt(found.damage.from);
      }
      to = found.end;
      if (to - from >= removeBytesAtOnce || counter.isFull) break;
    }
    this.#store.noteRemoved(counter.takeTally(), to);
    return true;
  }

  #fail(error: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#events.onFailure(describeFailure(error, dataPaths(this.#options.dataDir)));
  }
}

function openLog(options: EmbeddedOptions, store: SqliteCounterStore) {
  const directory = dataPaths(options.dataDir).log;
  const known = store.logId();
  // Before the log is opened, too: of another log, the counters' position says nothing.
  if (known !== undefined && readLogId(nodeFileSystem, directory)?.equals(known) === false)
    throw ofAnotherLog();
  const uncountedKeys: (KeyedBatch & { end: number })[] = [];
  const uncountedReplays: (ReplayedBatch & { end: number })[] = [];
  const log = SegmentedLog.open({
    directory,
    fileSystem: nodeFileSystem,
    segmentBytes: options.segmentBytes,
    allocateBytes: options.allocateBytes,
    countedThrough: store.position,
    setAside: store.setAside(),
    onUncounted: ({ record, end }) => {
      const key = keyOf(record);
      if (key !== undefined) uncountedKeys.push({ ...key, end });
      const origin = replayedOf(record);
      if (origin !== undefined) uncountedReplays.push({ ...origin, end });
    },
    now: Date.now,
  });
  if (known === undefined) store.adoptLog(log.logId);
  else if (!log.logId.equals(known)) {
    log.close();
    throw ofAnotherLog();
  }
  return { log, uncountedKeys, uncountedReplays };
}

function ofAnotherLog(): Error {
  return new Error(
    'pipeline.db holds the counters of another log. Put the log and the database of one data directory together again.',
  );
}
