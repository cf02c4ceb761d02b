import type { ItemError, RejectedByCode } from '../domain/batch.ts';
import type { BatchId } from '../domain/batch-id.ts';
import type { Chunk } from './chunks/chunk.ts';
import type { CounterRow, Increments } from '../domain/counter.ts';
import type { ProblemCode, Problem } from '../domain/problem.ts';
import type { CalendarDate } from '../domain/timestamp.ts';
import type { KnownVersions, StatsAnswer, StatsRequest } from './stats.ts';

/** How a raw body is encoded, as `Content-Encoding` said. */
export type ContentEncoding = 'identity' | 'gzip';

/** A request to take in a batch, after the transport's own checks. */
export interface Submission {
  /** The body byte for byte, still encoded. */
  readonly body: Uint8Array;
  readonly encoding: ContentEncoding;
  /** Whether one bad item refuses the batch (`Prefer: handling=strict`). */
  readonly strict: boolean;
  /** Whose idempotency keys these are; empty for a caller without a name. */
  readonly caller: string;
  readonly idempotencyKey: string | undefined;
  /** Of a batch that was taken in elsewhere before: what it was there. */
  readonly replayOf?: ReplayOrigin;
}

/** A batch as another installation has taken it in, but for its body. */
export interface ReplayOrigin extends StoredBatch {
  /** How many items were accepted and refused there. */
  readonly accepted: number;
  readonly rejected: number;
  /** See `RawBatch`. */
  readonly excluded?: readonly number[];
  /** The log in which it was received, in hexadecimal, where it was one and that is known. */
  readonly logId?: string;
}

export type IngestOutcome =
  | {
      readonly accepted: true;
      readonly batchId: BatchId;
      readonly rawKey: string;
      /** Items that are or will be counted. */
      readonly enqueued: number;
      readonly rejected: number;
      /** Absent where nothing was, or where that is another installation's affair. */
      readonly rejectedByCode?: RejectedByCode;
      readonly errors: readonly ItemError[];
      /** Of a replayed batch: whether it was here before, and nothing was done. */
      readonly isKnown?: boolean;
    }
  | { readonly accepted: false; readonly problem: Problem };

/** An accepted batch on its way to storage. */
export interface Batch {
  readonly body: Uint8Array;
  readonly encoding: ContentEncoding;
  readonly caller: string;
  readonly idempotency: Idempotency | undefined;
  readonly accepted: number;
  readonly rejected: number;
  readonly increments: Increments;
  /** Whether the batch is refused where any of its items is. */
  readonly strict?: boolean;
  /**
   * Items that are valid and were refused all the same, as in `RawBatch`; they are among `rejected`.
   * Given, if only as an empty list, it is settled which those are, and no bound is asked about.
   */
  readonly excluded?: readonly number[];
}

export interface Idempotency {
  readonly key: string;
  /** Of the body once inflated: a retry may be compressed anew into other bytes. 32 bytes. */
  readonly bodySha256: Uint8Array;
}

export interface StoredBatch {
  readonly batchId: BatchId;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  /**
   * Items that are valid and were refused all the same, by their index, ascending; they are among
   * the refused. The body does not tell of them, so they are stored with it. Absent: none.
   */
  readonly excluded?: readonly number[];
}

/** A batch that came earlier under an idempotency key, with the SHA-256 it had then. */
export interface EarlierBatch extends StoredBatch {
  readonly bodySha256: Uint8Array;
}

/** Raw store and queue as one act. */
export interface Intake {
  /**
   * Makes the raw body durable and queues its items, then answers; a batch whose key was used
   * before is not stored again: the earlier one is returned, once it is durable. Items whose
   * counters would be more than their day may have are excluded, and what is returned says which.
   * @throws {Unavailable} nothing is acknowledged; all of the batch will be counted, or none.
   * @throws {AllItemsOverLimit} nothing is stored, since all items are excluded, or one is and the
   *   batch is strict.
   */
  accept(
    batch: Batch,
  ): Promise<{ earlier: EarlierBatch } | { earlier?: never; stored: StoredBatch }>;
  /** The durable batch that came under the caller's key, if it is still kept. */
  recall(caller: string, key: string): Promise<EarlierBatch | undefined>;
}

/** A batch is refused for the items that would have been excluded of it. */
export class AllItemsOverLimit extends Error {
  override readonly name = 'NothingAdmitted';
  readonly excluded: readonly number[];

  constructor(excluded: readonly number[]) {
    super(`${excluded.length} items would begin more counters than their days may have`);
    this.excluded = excluded;
  }
}

/** A batch that another installation has taken in, on its way to storage. */
export interface ReplayedBatch extends Batch {
  readonly origin: ReplayOrigin;
}

export type ReplayResult =
  | { readonly kind: 'stored' }
  /** It is here, and counted or about to be, perhaps under another id: its key came here too. */
  | { readonly kind: 'known'; readonly batch: StoredBatch }
  /** Under its id another body is here. */
  | { readonly kind: 'conflict'; readonly detail: string }
  /** Whether it was counted here is not known any more. */
  | { readonly kind: 'undecidable'; readonly detail: string };

/** Takes in what another installation has taken in, under the id that it has had there. */
export interface ReplayIntake {
  /**
   * Makes the raw body durable and queues its items, once, however often and from wherever the
   * batch comes.
   * @throws {Unavailable} as `Intake` does.
   */
  replay(batch: ReplayedBatch): Promise<ReplayResult>;
}

/** The batch cannot be taken now. */
export class Unavailable extends Error {
  readonly code: Extract<ProblemCode, 'overloaded' | 'stopping' | 'storage_failed'>;
  readonly retryAfterSeconds: number;

  constructor(code: Unavailable['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'Unavailable';
    this.code = code;
    this.retryAfterSeconds = code === 'overloaded' ? 1 : 5;
  }
}

/** Increments to add under a mark that makes them count once. */
export interface Delivery<Mark> {
  readonly dedupKey: Mark;
  readonly increments: Increments;
}

/** Deliveries cannot be counted together, or at all, however often it is tried. */
export class PermanentFailure extends Error {
  override readonly name = 'NotCountable';
}

export interface CounterStore<Mark, D extends Delivery<Mark> = Delivery<Mark>> {
  /**
   * Adds the increments of the deliveries that are new and marks them, in one atomic step.
   * `repeated` were counted before. `early` cannot be counted yet, since a delivery before them
   * is missing; nothing of them is counted and they may be offered again.
   * @throws {PermanentFailure} or another error: nothing is counted, or nobody knows whether all is.
   */
  apply(
    deliveries: readonly D[],
  ): Promise<{ counted: readonly D[]; repeated: readonly D[]; early: readonly D[] }>;
}

export interface CounterQuery {
  /** Both ends counted. */
  readonly from: CalendarDate;
  readonly to: CalendarDate;
  /** Empty: all. */
  readonly types: readonly string[];
  /** Empty: all. */
  readonly states: readonly string[];
}

/** Says whether more is wanted. */
export type TakeRows = (rows: readonly CounterRow[]) => boolean;

export interface CounterReader {
  /**
   * Hands the rows over, by date, then by sort key in UTF-8 byte order, in pieces: there may be
   * millions. Where `take` says that it wants no more, the rest is not read, and the result is false.
   * Nor is it once `signal` is aborted, which may throw.
   */
  query(query: CounterQuery, take: TakeRows, signal?: AbortSignal): Promise<boolean>;
}

export interface Receipt {
  readonly status: 'pending' | 'counted';
  readonly rawKey: string;
  readonly enqueued: number;
  readonly counted: number;
  readonly rejected: number;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
}

export interface Receipts {
  find(batchId: string): Promise<Receipt | undefined>;
}

/** A raw body as it came, with what is known of it. */
export interface RawBatch extends StoredBatch {
  readonly body: Uint8Array;
  readonly encoding: ContentEncoding;
  /** How many items were accepted and refused when it came. */
  readonly accepted: number;
  readonly rejected: number;
}

export interface RawStore {
  get(rawKey: string): Promise<RawBatch | undefined>;
  /** In the order they were stored. Times are milliseconds since 1970, `to` excluded. */
  list(range?: { readonly from?: number; readonly to?: number }): AsyncIterable<RawBatch>;
}

/** A message on its way to the dead letters. */
export interface DeadLetter {
  /** Its id on the queue. A redrive gives it another one, */
  readonly messageId: string;
  /** and this stays, */
  readonly originalId: string;
  /** as does when it was first sent; milliseconds since 1970. */
  readonly sentAt: number;
  /** Of a batch from another installation, when that came here. */
  readonly replayedAt?: number;
  readonly body: string;
  readonly reason: string;
  /** When it was first put there, before any redrive; undefined where this is the first time. */
  readonly firstFailedAt?: number | undefined;
}

export interface DeadLetterSink {
  /** Puts messages among the dead letters; returns the ids of those that surely are there. */
  add(letters: readonly DeadLetter[]): Promise<ReadonlySet<string>>;
}

/** The queue to the processor. */
export interface ChunkQueue {
  /** @throws where not every chunk was sent; some may have been. */
  send(chunks: readonly Chunk[]): Promise<void>;
}

/** What a pipeline is doing, for health checks. */
export interface PipelineStatus {
  /** Why no batch would be taken now; undefined where one would. */
  readonly unavailable: { readonly code: Unavailable['code']; readonly detail: string } | undefined;
  /** What is accepted and not counted yet: exactly so many items, or about so many messages. */
  readonly pending: {
    readonly unit: 'items' | 'messages';
    readonly amount: number;
    /** What they take in the log, where there is one. */
    readonly bytes?: number;
  };
  readonly deadLetters: number;
  /**
   * Whatever was acknowledged before this moment is counted, or among the dead letters; undefined
   * where that is not known. Milliseconds since 1970.
   */
  readonly countedThrough: number | undefined;
  /** When the latest batch came, where one has and that is known; milliseconds since 1970. */
  readonly lastReceivedAt: number | undefined;
  /** The latest date that has counts, where one has and that is known. */
  readonly latestDate?: CalendarDate | undefined;
}

/** The whole pipeline, as the HTTP side sees it. */
export interface Pipeline extends CounterReader {
  /** @throws never for bad input, which is an outcome. */
  ingest(submission: Submission): Promise<IngestOutcome>;
  /**
   * The answer to a request of `/stats`, in the caller's hands already where `known` names it.
   * `signal` is aborted by whoever does not want it any more: nothing more need be read for it then.
   * @throws {Unavailable} where the counters cannot be read now.
   */
  stats(request: StatsRequest, known: KnownVersions, signal?: AbortSignal): Promise<StatsAnswer>;
  receipt(batchId: string): Promise<Receipt | undefined>;
  status(): Promise<PipelineStatus>;
}
