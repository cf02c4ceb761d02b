import type { Difference } from './findings.ts';
import type {
  BatchDetails,
  ContentEncoding,
  CounterReader,
  IngestOutcome,
  Submission,
} from './ports.ts';

/*
 * The operators' port: what the commands `raw`, `dlq`, `audit`, `rebuild`, `replay` and `stats` need of
 * an engine. Each engine implements it on its kind of storage; src/entry/cli/open-store.ts chooses the
 * engine, and the commands parse options, call the port and print.
 * test/contract/ports/store-admin-contract.ts runs on every engine.
 *
 * All times are milliseconds since 1970. Every method may be called while the store accepts batches.
 * Errors are instances of Error whose messages name what is wrong and what to do.
 */

type Awaitable<T> = T | Promise<T>;

/** Batches received from `from` on and before `to`. */
export interface ReceivedRange {
  readonly from: number;
  /** `Number.MAX_SAFE_INTEGER` if the range has no end. */
  readonly to: number;
}

export function isWithin(receivedAt: number, received: ReceivedRange | undefined): boolean {
  return received === undefined || (receivedAt >= received.from && receivedAt < received.to);
}

/** One opened store: a data directory, or the resources of a deployment. */
export interface StoreAdmin {
  /**
   * The day rule of the store; undefined if the store was opened without the part that records it.
   * @throws if there is no store.
   */
  dayZone(): string | undefined;
  readonly raw: RawBodies;
  readonly deadLetters: DeadLetters;
  /**
   * Opens the counters for queries, one after the other.
   * @throws if there are none.
   */
  openCounters(): OpenedCounters;
  /**
   * Counts the raw bodies again and compares the result with the counters and all related records.
   * Reports each difference as soon as it is certain; a value that may still change is not reported.
   * @throws if bodies, counters or records cannot be read at all.
   */
  audit(options: AuditOptions, events: ReadingEvents): Awaitable<AuditReport>;
  /**
   * Computes the counters from the raw bodies, while batches are accepted and counted. The old counters
   * are kept until `dropReplaced`. An interrupted rebuild leaves every counter unchanged or correct, and
   * the next one continues it. Reports all differences before it changes a counter.
   * @throws if bodies are damaged or missing, unless they are to be left out; then nothing is changed.
   */
  rebuild(options: RebuildOptions, events: ReadingEvents): Awaitable<RebuildReport>;
  /** Drops the old counters of the last rebuild. */
  dropReplaced(): Awaitable<ReplacedCounters>;
  /** Restores the old counters of the last rebuild; absent if the engine cannot. */
  restoreReplaced?(): Awaitable<ReplacedCounters>;
  /**
   * What a replay of this store needs besides the listing of its raw bodies.
   * @throws if it is unknown which batches are dead letters.
   */
  replayFacts(): Awaitable<ReplayFacts>;
  /**
   * Opens the store for batches of another installation.
   * @param sourceZone the day rule of the source, which a new store adopts.
   * @param warn called with what the operator should know and that does not end the replay.
   */
  openReplayTarget(
    sourceZone: string | undefined,
    warn: (message: string) => void,
  ): Awaitable<ReplayTarget>;
  /** Returns an error with the names of the store's parts and what to do; other errors as they are. */
  explain(error: unknown): unknown;
  /** Closes files and connections. Called once, after all calls have ended. */
  close(): void;
}

/** How `audit` and `rebuild` read. An engine ignores the limits that do not apply to it. */
interface ReadingOptions {
  /** The counters to compare, by their dates; undefined: all. */
  readonly dates: DateRange | undefined;
  /** How many threads read; undefined: as many as pay off. */
  readonly threads?: number | undefined;
  /** Concurrent requests to a service, and requests per second. */
  readonly width: number;
  readonly requestsPerSecond: number;
  /** A batch received within this time may not be counted yet, which is no difference; milliseconds. */
  readonly inFlightMs: number;
}

/** Dates as in `2023-06-16`, both included. */
export interface DateRange {
  readonly from: string;
  readonly to: string;
}

/** Receives the reports of `audit` and `rebuild` while they read. */
export interface ReadingEvents {
  readonly onDifference: (difference: Difference) => void;
  /** Called from time to time with how much is read, and of how much. */
  readonly onProgress: (done: number, total: number, unit: ProgressUnit) => void;
  /** Called before anything large is read, with a line that says what the reading will cost. */
  readonly onEstimate: (text: string) => void;
}

export type ProgressUnit = 'bytes' | 'bodies';

export interface AuditOptions extends ReadingOptions {
  /**
   * If set, only these batches are audited, and no counters: counters do not record when items were
   * received.
   */
  readonly received: ReceivedRange | undefined;
}

export interface AuditReport {
  readonly items: number;
  readonly batches: number;
  /** Counters compared. */
  readonly counters: number;
  /** How many of the reported differences are counters that changed too often to be compared. */
  readonly unsettled: number;
  /** Further information for the operator, a line each. */
  readonly notes: readonly string[];
  /** The report as members of the JSON output, in their order. */
  readonly members: object;
}

export interface RebuildOptions extends ReadingOptions {
  /** Only report the differences. */
  readonly dryRun: boolean;
  /** Leave out batches whose bodies are damaged or missing, instead of refusing. */
  readonly withoutDamaged: boolean;
  /** A directory for work files, which survives restarts of the machine. */
  readonly workDir: string;
}

export interface RebuildReport {
  /** Whether the counters are changed now. */
  readonly isSwitched: boolean;
  /** As in `AuditReport`. */
  readonly notes: readonly string[];
  /** The outcome, in one line. */
  readonly result: string;
  readonly members: object;
}

export interface ReplacedCounters {
  /** Whether there were old counters. */
  readonly wereKept: boolean;
  /** How many; undefined if the engine keeps all of them. */
  readonly counters?: number | undefined;
}

export interface OpenedCounters extends CounterReader {
  /** Bytes of raw bodies that are stored and not counted yet; 0 if the engine cannot say. */
  readonly pendingBytes: number;
}

/** The raw bodies of a store. */
export interface RawBodies {
  /** Whether loading a body takes a request: a copy then keeps bodies that an earlier one loaded. */
  readonly isRemote: boolean;
  /**
   * The batches of the range in the order of their storage, a page at a time; undefined: all batches.
   * With `keys: 'kept'`, the details have only idempotency keys by which a retry would still be
   * recognised: a copy must not revive others.
   * @throws if there is no raw store.
   */
  list(
    range: ReceivedRange | undefined,
    options?: { readonly keys: 'kept' },
  ): AsyncIterable<readonly RawEntry[]>;
  /**
   * The body of a batch, byte for byte as received, by its raw key or batch id.
   * @throws if the store does not have it.
   */
  get(name: string): Awaitable<Uint8Array>;
}

/** A batch, or a range of the raw store that cannot be read. */
export type RawEntry =
  | RawBatchEntry
  /** `damage` says which bytes are damaged, as the beginning of a sentence. */
  | { readonly damage: string };

/** A batch in a listing. Its methods may be called at any time, concurrently with others. */
export interface RawBatchEntry {
  readonly damage?: never;
  readonly rawKey: string;
  readonly receivedAt: number;
  /** Its position in the listing: increases from batch to batch, in a unit of the engine. */
  readonly at: number;
  /** The size of the body as received. */
  readonly bytes: number;
  /** May take a request. Undefined if the batch was deleted since it was listed. */
  details(): Awaitable<BatchDetails | undefined>;
  /** The body with the details. Undefined if the batch was deleted since it was listed. */
  load(): Awaitable<{ readonly body: Uint8Array; readonly details: BatchDetails } | undefined>;
}

/** The dead letters of a store. A call that is interrupted may be repeated. */
export interface DeadLetters {
  /**
   * Passes the dead letters to `show` a page at a time, dropped ones last, and awaits it.
   * @param limit the number to read at most, if reading hides them from others for a while.
   */
  list(
    limit: number,
    show: (page: readonly DeadLetterView[]) => Promise<void>,
  ): Awaitable<{
    /** Whether there may be more than `limit`. */
    readonly isMore: boolean;
    /** About how many another reader has hidden at the moment. */
    readonly hidden: number;
  }>;
  /**
   * Tries again to count the chosen dead letters, except dropped ones.
   * @param report called for each with its id and the outcome, in a few words.
   */
  redrive(
    selection: DeadLetterSelection,
    report: (id: string, outcome: string) => void,
  ): Awaitable<RedriveResult>;
  /** Gives up the chosen dead letters: they are never counted, but stay on record. */
  drop(selection: DeadLetterSelection): Awaitable<DropResult>;
}

export interface DeadLetterSelection {
  /**
   * Whether to act on a dead letter. Called once for each.
   * @param names the names that select it: its id, batch id and raw key.
   */
  readonly isChosen: (names: readonly string[], reason: string) => boolean;
  /** As in `list`. */
  readonly limit: number;
}

export interface RedriveResult {
  /** Whether they are counted now, or sent to the processor, which counts them later. */
  readonly how: 'counted' | 'sent';
  readonly done: number;
  /** The ones that stay dead letters. An id is empty if the stored bytes are damaged. */
  readonly left: readonly { readonly id: string; readonly reason: string }[];
  readonly isMore: boolean;
}

interface DropResult {
  readonly dropped: number;
  /**
   * The ids of those that another copy had counted before, so that only the dead letter was removed;
   * undefined if the engine has no copies.
   */
  readonly countedBefore: readonly string[] | undefined;
  readonly isMore: boolean;
}

/** A dead letter for display. */
export interface DeadLetterView {
  /** Selects it in commands, as do its batch id and raw key. Empty: only `--all` or `--reason` does. */
  readonly id: string;
  readonly batchId: string | undefined;
  readonly rawKey: string | undefined;
  /** The index of the chunk, if it is a part of a batch. */
  readonly index: number | undefined;
  readonly items: number | undefined;
  /** Begins with a code and a colon. */
  readonly reason: string;
  /** Undefined if unknown. */
  readonly firstFailedAt: number | undefined;
  readonly lastFailedAt: number | undefined;
  readonly droppedAt: number | undefined;
  readonly body: Uint8Array | undefined;
  readonly encoding: ContentEncoding;
}

export interface ReplayFacts {
  /** The final value of `at` in the listing, for progress; undefined if unknown. */
  readonly total: number | undefined;
  /** The `at` of batches that are dead letters: not counted here, and so not replayed. */
  readonly deadLetters: ReadonlySet<number>;
  /** A sentence on the raw bodies that the store has deleted; undefined: none. */
  readonly missing: string | undefined;
  /** Whether the listing has the idempotency keys of batches that were sent with one. */
  readonly hasKeys: boolean;
}

/** A store that accepts batches of another installation. */
export interface ReplayTarget {
  /** The name of the store in messages. */
  readonly name: string;
  readonly dayZone: string | undefined;
  /** The command that checks the result, without the program's name. */
  readonly check: string;
  /** Stores a batch under its identity, once, however often it is sent; calls may be concurrent. */
  ingest(submission: Submission): Promise<IngestOutcome>;
  /** Waits until the engine has counted what this process has to count. @throws if it could not. */
  close(): Promise<void>;
}
