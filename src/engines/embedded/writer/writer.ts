import { dayRule } from '../../../domain/day.ts';
import type { ScanMemory } from '../../../domain/fast/scan-memory.ts';
import { ingest, type IngestRules } from '../../../pipeline/ingest.ts';
import { Unavailable, type IngestOutcome, type Submission } from '../../../pipeline/ports.ts';
import { replay } from '../../../pipeline/replay.ts';
import { dataPaths, type DirectoryLock } from '../data-directory.ts';
import type { ArchivePositions } from '../archive/archive-positions.ts';
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
import type { Opened, Progress } from './messages.ts';
import { thisMachine, type Platform } from './platform.ts';
import { openLog } from './open-log.ts';
import type { SegmentedLog } from '../log/segmented-log.ts';
import { SqliteCounterStore } from '../store/counter-store.ts';
import { isSqliteBusy, isSqliteError } from '../../../util/sqlite.ts';
import { storeDayZone } from '../store/day-zone.ts';
import type { Acceptance } from './submission-ring.ts';
import { openDatabase } from '../store/schema.ts';

export interface WriterEvents {
  readonly onProgress: (progress: Progress) => void;
  /** The writer accepts no more submissions; the message says why and what to do. */
  readonly onFailure: (message: string) => void;
  /** Non-fatal error. */
  readonly onUnexpectedError: (message: string) => void;
}

const busyDelayMs = 100;
/** How long `close` counts the backlog, in milliseconds; the rest is counted after the next start. */
const drainMs = 5_000;

/**
 * The single writer of a data directory. This folder's files work together so: the main thread's
 * `WriterClient` puts submissions into the ring (`submission-ring`); on the writer thread
 * (`writer-worker`), `GroupCommitter` takes them in groups, and this class scans plain bodies
 * itself or passes others to `LogIntake`, which looks up keys. `CounterAdmission` checks the days'
 * limits, the log stages the records, one sync makes a group durable, and `LogProcessor` counts it
 * into the database. `Maintenance` expires keys and old segments; `Backlog` tracks the uncounted
 * records.
 */
export class Writer {
  readonly #options: EmbeddedOptions;
  readonly #rules: IngestRules;
  readonly #events: WriterEvents;
  readonly #platform: Platform;
  readonly #lock: DirectoryLock;
  readonly #log: SegmentedLog;
  readonly #store: SqliteCounterStore;
  readonly #reader: LogReader;
  /** The reader for lookups of single records; `#reader` is for counting. */
  readonly #lookups: LogReader;
  readonly #admission: CounterAdmission;
  readonly #backlog = new Backlog();
  readonly #intake: LogIntake;
  readonly #processor: LogProcessor;
  readonly #maintenance: Maintenance;
  #lastReceivedAt: number | undefined;
  #isCountingScheduled = false;
  /** A step of counting had to wait for a sync. */
  #isCountDue = false;
  #hasFailed = false;

  /**
   * @param scanMemory the memory with the bodies of `stagePlain`.
   * @throws an Error whose message says what is wrong and what to do.
   */
  static open(
    options: EmbeddedOptions,
    events: WriterEvents,
    platform = thisMachine,
    archive?: Pick<ArchivePositions, 'releasedEnd'>,
    scanMemory?: ScanMemory,
  ): Writer {
    const paths = dataPaths(options.dataDir);
    const lock = platform.lockDirectory(paths);
    try {
      return new Writer(options, events, platform, lock, archive, scanMemory);
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
    archive: Pick<ArchivePositions, 'releasedEnd'> | undefined,
    scanMemory: ScanMemory | undefined,
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
      platform.onTransaction,
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
      releasedEnd: () => archive?.releasedEnd ?? Number.POSITIVE_INFINITY,
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
      scanMemory,
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

  get scanner(): Opened['scanner'] {
    return this.#processor.scanner;
  }

  get tornBytes(): number {
    return this.#log.tornBytes;
  }

  progress(): Progress {
    return {
      durableEnd: this.#log.durableEnd,
      countedThrough: this.#store.position,
      deadLetters: this.#store.deadLetters,
      deadLetterReasons: this.#store.deadLetterReasons,
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
   * The fast path: stages a batch whose body of the common shape is in `bytes` from `at` on. It is
   * accepted once a commit has returned true. Undefined if `ingest` must handle the batch.
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
    const scanned = this.#processor.scan(bytes, at, at + length);
    if (scanned === undefined) return undefined;
    const enqueued = scanned.items;
    const unadmitted = this.#processor.unadmitted(scanned);
    const newCounters = unadmitted.length === 0 ? unadmitted : this.#admitAll(unadmitted);
    if (newCounters === undefined) return undefined;
    const staged = this.#intake.stagePlain(bytes.subarray(at, at + length), enqueued, caller);
    if (staged === undefined) return undefined;
    if (unadmitted.length > 0) {
      this.#admission.addPending(newCounters, staged.end);
      this.#processor.cacheAdmitted(unadmitted);
    }
    this.#processor.addScanned({ from: staged.previousEnd, to: staged.end }, scanned);
    return { batchId: staged.batchId, receivedAt: staged.receivedAt, enqueued };
  }

  /** Makes all staged batches durable. Returns whether that succeeded. */
  commit(): boolean {
    return this.#afterCommit(this.#intake.commit());
  }

  /**
   * Commits in the background. Until the promise resolves, of the methods that stage or commit only
   * `stagePlain` may be called.
   */
  async startCommit(): Promise<boolean> {
    return this.#afterCommit(await this.#intake.startCommit());
  }

  /** Whether counting waits for the next commit, which should therefore not be delayed. */
  get isCountDue(): boolean {
    return this.#isCountDue || this.#processor.isFull;
  }

  #afterCommit(isDurable: boolean): boolean {
    if (isDurable && this.isCountDue) this.#countNext();
    else if (isDurable) this.#scheduleCounting(this.#options.countDelayMs);
    return isDurable;
  }

  /**
   * Counts the backlog for up to `drainMs`, and releases the data directory.
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
      // On failure, expiry is only a little late.
      if (!isSqliteBusy(error)) throw error;
    }
  }

  /** New counters if all fit the days' limits; otherwise undefined (use the slow path). */
  #admitAll(unadmitted: readonly ScannedCounter[]): readonly ScannedCounter[] | undefined {
    try {
      const newCounters = this.#admission.newCounters(unadmitted);
      return this.#admission.hasRoomFor(newCounters) ? newCounters : undefined;
    } catch {
      // The slow path hits the same error and reports it.
      return undefined;
    }
  }

  /**
   * The record of an earlier batch. A failed read only fails this submission, not the writer.
   * @throws {Unavailable}
   */
  #recordAt(position: LogPosition): LogRecord | undefined {
    try {
      return this.#lookups.recordAt(position);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const why = code === 'EMFILE' ? ', because no more files can be opened (ulimit -n)' : '';
      throw new Unavailable(
        'storage_failed',
        `An earlier batch cannot be read now${why}. Send the batch again after a moment, with the same Idempotency-Key if it had one.`,
        { cause: error },
      );
    }
  }

  #checkForChanges(): void {
    try {
      this.#admission.checkForChanges();
      this.#store.shrinkJournal();
    } catch (error) {
      // The next transaction checks again.
      if (!isSqliteBusy(error)) this.#fail(error);
    }
  }

  /** Queries the database. @throws {Unavailable} if that fails. */
  #queryStore<T>(query: () => T): T {
    try {
      return query();
    } catch (error) {
      if (!isSqliteError(error)) throw error;
      if (!isSqliteBusy(error)) this.#fail(error);
      throw new Unavailable(
        'storage_failed',
        'The database cannot be read, so the server cannot look up earlier batches. Nothing of this batch was stored; send it again, with the same Idempotency-Key if it had one.',
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

  /** Runs one step of counting, and schedules the next if there is more. */
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
