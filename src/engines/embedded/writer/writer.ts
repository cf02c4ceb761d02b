import { notPlain } from '../../../domain/fast/batch-scanner.ts';
import { dayRule } from '../../../domain/day.ts';
import { ingest, type IngestRules } from '../../../pipeline/ingest.ts';
import { Unavailable, type IngestOutcome, type Submission } from '../../../pipeline/ports.ts';
import { replay } from '../../../pipeline/replay.ts';
import { dataPaths, type DirectoryLock } from '../data-directory.ts';
import { Backlog } from './backlog.ts';
import { CounterAdmission } from './counter-admission.ts';
import type { EmbeddedOptions } from '../options.ts';
import { describeFailure } from '../failure-text.ts';
import { checkJournal } from '../store/journal-check.ts';
import { LogIntake } from './intake.ts';
import type { LogPosition, LogRecord } from '../log/frame.ts';
import { readLogIdentity } from '../log/segment.ts';
import { LogProcessor, type CountingState, type ScannedCounter } from './processor.ts';
import { LogReader } from '../log/log-reader.ts';
import { Maintenance } from './maintenance.ts';
import type { Progress } from './messages.ts';
import { thisMachine, type Platform } from './platform.ts';
import { openLog } from './open-log.ts';
import type { SegmentedLog } from '../log/segmented-log.ts';
import { SqliteCounterStore } from '../store/counter-store.ts';
import { isSqliteBusy, isSqliteError } from '../store/sqlite-errors.ts';
import { storeDayZone } from '../store/day-zone.ts';
import type { Acceptance } from './submission-ring.ts';
import { openDatabase } from '../store/schema.ts';

export interface WriterEvents {
  readonly onProgress: (progress: Progress) => void;
  /** The writer takes nothing more; the message says why and what to do. */
  readonly onFailure: (message: string) => void;
  /** Something is wrong and the writer goes on. */
  readonly onUnexpectedError: (message: string) => void;
}

const busyDelayMs = 100;
/** A stop waits so long for what is stored to be counted; the rest is counted after the start. */
const drainMs = 5_000;

/** The one owner of a data directory: takes batches in, counts them, and clears away what is old. */
export class Writer {
  readonly #options: EmbeddedOptions;
  readonly #rules: IngestRules;
  readonly #events: WriterEvents;
  readonly #platform: Platform;
  readonly #lock: DirectoryLock;
  readonly #log: SegmentedLog;
  readonly #store: SqliteCounterStore;
  readonly #reader: LogReader;
  /** Of records that are looked up, beside the one that is counted from. */
  readonly #lookups: LogReader;
  readonly #admission: CounterAdmission;
  readonly #backlog = new Backlog();
  readonly #intake: LogIntake;
  readonly #processor: LogProcessor;
  readonly #maintenance: Maintenance;
  #lastReceivedAt: number | undefined;
  #isCountingScheduled = false;
  /** Counting was due while more was held than was durable. */
  #isCountDue = false;
  #hasFailed = false;

  /** @throws an Error whose message says what is wrong and what to do. */
  static open(options: EmbeddedOptions, events: WriterEvents, platform = thisMachine): Writer {
    const paths = dataPaths(options.dataDir);
    const lock = platform.lockDirectory(paths);
    try {
      return new Writer(options, events, platform, lock);
    } catch (error) {
      lock.release();
      throw new Error(describeFailure(error, paths), { cause: error });
    }
  }

  private constructor(
    options: EmbeddedOptions,
    events: WriterEvents,
    platform: Platform,
    lock: DirectoryLock,
  ) {
    this.#options = options;
    this.#events = events;
    this.#platform = platform;
    this.#lock = lock;
    const paths = dataPaths(options.dataDir);
    checkJournal(paths.database);
    const identity = readLogIdentity(platform.fileSystem, paths.log);
    const dayZone = storeDayZone(identity, options);
    this.#rules = { bodyBytesMax: options.bodyBytesMax, dayOf: dayRule(dayZone) };
    this.#store = new SqliteCounterStore(
      openDatabase(paths.database, platform.connect),
      platform.elapsedMs,
    );
    this.#admission = new CounterAdmission({
      store: this.#store,
      countersPerDayMax: options.countersPerDayMax,
      dayZone,
      onForget: () => this.#processor.forgetAdmitted(),
      now: platform.now,
    });
    const opened = openLog({
      ...{ options, platform, identity, dayZone },
      ...{ store: this.#store, admission: this.#admission, backlog: this.#backlog },
    });
    const { log, uncountedKeys, uncountedReplays } = opened;
    this.#log = log;
    this.#maintenance = new Maintenance({
      store: this.#store,
      log,
      options,
      platform,
      onFailure: (error) => this.#fail(error),
      onUnexpectedError: events.onUnexpectedError,
    });
    this.#lastReceivedAt = log.lastReceivedAt;
    this.#reader = new LogReader(platform.fileSystem, paths.log);
    this.#lookups = new LogReader(platform.fileSystem, paths.log);
    this.#processor = new LogProcessor({
      store: this.#store,
      reader: this.#reader,
      dayZone,
      durableEnd: () => log.durableEnd,
      onCounted: (through, items) => {
        this.#backlog.removeCounted(through, items);
        this.#intake.forgetKeys(through);
        this.#checkForChanges();
        this.#events.onProgress(this.progress());
      },
      now: platform.now,
    });
    this.#intake = new LogIntake(
      {
        log,
        admission: {
          admit: (batch) => this.#queryStore(() => this.#admission.admit(batch)),
          addPending: (newCounters, end) => this.#admission.addPending(newCounters, end),
        },
        findKey: (caller, key) => this.#queryStore(() => this.#store.findKey(caller, key)),
        positionOfReplayed: (batchId) => this.#queryStore(() => this.#store.findReplayed(batchId)),
        recordAt: (position) => this.#recordAt(position),
        countedThrough: () => this.#store.position,
        onStaged: (end, accepted, at) => {
          this.#backlog.add(end, accepted, at);
          this.#lastReceivedAt = at;
        },
        onDurable: (delivery, accepted) => {
          this.#processor.offer(delivery, accepted);
          this.#scheduleCounting(options.countDelayMs);
        },
        onFailure: (error) => this.#fail(error),
        defer: queueMicrotask,
        now: platform.now,
        backlogBytesMax: options.backlogBytesMax,
      },
      uncountedKeys,
      uncountedReplays,
    );
    this.#scheduleCounting(0);
    this.#maintenance.run();
  }

  /** The day rule of the store. */
  get dayZone(): string {
    return this.#log.dayZone;
  }

  get tornBytes(): number {
    return this.#log.tornBytes;
  }

  progress(): Progress {
    return {
      durableEnd: this.#log.durableEnd,
      countedThrough: this.#store.position,
      deadLetters: this.#store.deadLetters,
      pendingItems: this.#backlog.items,
      pendingSince: this.#backlog.since,
      lastReceivedAt: this.#lastReceivedAt,
      latestDate: this.#store.latestDate,
    };
  }

  ingest(submission: Submission): Promise<IngestOutcome> {
    const { replayOf } = submission;
    return replayOf === undefined
      ? ingest(submission, this.#intake, this.#rules)
      : replay(submission, replayOf, this.#intake, this.#rules);
  }

  /**
   * Stages the batch whose body, of the common shape, is `bytes` from `at` on: it is accepted as
   * soon as a commit has said so. Undefined where `ingest` has to look at it.
   */
  stagePlain(
    bytes: Uint8Array,
    at: number,
    length: number,
    caller: string,
  ): Acceptance | undefined {
    const callerBytes = caller === '' ? 0 : Buffer.byteLength(caller);
    if (length > this.#options.bodyBytesMax || !this.#log.hasRoomFor(callerBytes + length)) {
      return undefined;
    }
    const enqueued = this.#processor.scan(bytes, at, at + length);
    if (enqueued === notPlain) return undefined;
    const asked = this.#processor.unadmitted();
    const newCounters = asked.length === 0 ? asked : this.#admitAll(asked);
    if (newCounters === undefined) return undefined;
    const staged = this.#intake.stagePlain(bytes.subarray(at, at + length), enqueued, caller);
    if (staged === undefined) return undefined;
    if (asked.length > 0) {
      this.#admission.addPending(newCounters, staged.end);
      this.#processor.rememberAdmitted(asked);
    }
    this.#processor.addScanned({ from: staged.previousEnd, to: staged.end }, enqueued);
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
    if (isDurable && this.isCountDue) this.#countNext();
    else if (isDurable) this.#scheduleCounting(this.#options.countDelayMs);
    return isDurable;
  }

  /**
   * Counts what is stored, if that can be done soon, and lets the directory go.
   * @throws an Error whose message says what is wrong and what to do.
   */
  async close(): Promise<void> {
    this.#maintenance.stop();
    this.#intake.commit();
    const { elapsedMs, runLater } = this.#platform;
    const deadline = elapsedMs() + drainMs;
    while (!this.#hasFailed && elapsedMs() < deadline) {
      const state = await this.#step();
      if (state === 'idle') break;
      if (state === 'busy') await new Promise<void>((done) => void runLater(done, busyDelayMs));
    }
    const isSound = !this.#hasFailed;
    this.#hasFailed = true;
    try {
      if (isSound) this.#saveAge();
      this.#reader.close();
      this.#lookups.close();
      this.#log.close();
      this.#store.close();
    } catch (error) {
      throw new Error(describeFailure(error, dataPaths(this.#options.dataDir)), { cause: error });
    } finally {
      this.#lock.release();
    }
  }

  #saveAge(): void {
    try {
      this.#store.age.save();
    } catch (error) {
      // What is kept is kept a little longer then.
      if (!isSqliteBusy(error)) throw error;
    }
  }

  /** Those that are new, where all of them may be counted; undefined where that needs a closer look. */
  #admitAll(asked: readonly ScannedCounter[]): readonly ScannedCounter[] | undefined {
    try {
      const newCounters = this.#admission.newCounters(asked);
      return this.#admission.hasRoomFor(newCounters) ? newCounters : undefined;
    } catch {
      // Whoever looks closer meets it again, and tells.
      return undefined;
    }
  }

  /**
   * The record of an earlier batch. A disk that cannot be read is no reason to take nothing more.
   * @throws {Unavailable}
   */
  #recordAt(position: LogPosition): LogRecord | undefined {
    try {
      return this.#lookups.recordAt(position);
    } catch (error) {
      throw new Unavailable(
        'storage_failed',
        'An earlier batch cannot be read now. Send this one again after a moment, with the same Idempotency-Key if it had one.',
        { cause: error },
      );
    }
  }

  #checkForChanges(): void {
    try {
      this.#admission.checkForChanges();
      this.#store.shrinkJournal();
    } catch (error) {
      // It is looked at again after what is counted next.
      if (!isSqliteBusy(error)) this.#fail(error);
    }
  }

  /** Asks the database. @throws {Unavailable} where it does not answer. */
  #queryStore<T>(question: () => T): T {
    try {
      return question();
    } catch (error) {
      if (!isSqliteError(error)) throw error;
      if (!isSqliteBusy(error)) this.#fail(error);
      throw new Unavailable(
        'storage_failed',
        'What is known of earlier batches cannot be read. Nothing of this batch was stored; send it again, with the same Idempotency-Key if it had one.',
        { cause: error },
      );
    }
  }

  #scheduleCounting(delayMs: number): void {
    if (this.#isCountingScheduled || this.#hasFailed) return;
    this.#isCountingScheduled = true;
    this.#platform.runLater(() => {
      this.#isCountingScheduled = false;
      this.#countNext();
    }, delayMs);
  }

  /** Counts a piece, and comes back for what is left. */
  #countNext(): void {
    void this.#step().then((state) => {
      if (state === 'behind') this.#scheduleCounting(0);
      if (state === 'busy') this.#scheduleCounting(busyDelayMs);
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

  #fail(error: unknown): void {
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#maintenance.stop();
    this.#events.onFailure(describeFailure(error, dataPaths(this.#options.dataDir)));
  }
}
