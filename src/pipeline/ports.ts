import type { ItemError, RejectedByCode } from '../domain/batch.ts';
import type { BatchId } from '../domain/batch-id.ts';
import type { Chunk } from './chunks/chunk.ts';
import type { CounterRow, Increments } from '../domain/counter.ts';
import type { ProblemCode, Problem } from '../domain/problem.ts';
import type { CalendarDate } from '../domain/timestamp.ts';
import type { KnownVersions, StatsAnswer, StatsRequest } from './stats/stats.ts';

/*
 * The ports: what the pipeline needs of an engine (intake, counters, receipts, dead letters) and what
 * HTTP needs of the pipeline. Each engine in src/engines implements them on one kind of storage;
 * test/contract/ports has a suite per port that runs on every engine. What operators need is a port of
 * its own: store-admin.ts.
 */

/** The `Content-Encoding` of a raw body. */
export type ContentEncoding = 'identity' | 'gzip';

/**
 * Bytes that their owner frees once the call that got them returns, so that they must be copied
 * before it does. Any Uint8Array can be lent; a borrowed one cannot be kept as a Uint8Array.
 */
export type Borrowed = Pick<Uint8Array, 'buffer' | 'byteOffset' | 'length'>;

/** A borrowed body, whole or in the pieces in which it arrived, each of which is then copied once. */
export type BorrowedBody = Borrowed | readonly Borrowed[];

/** A request to ingest a batch, after the checks of the transport. */
export interface Submission<Body extends BorrowedBody = Uint8Array> {
  /** The body as sent, still encoded. */
  readonly body: Body;
  readonly encoding: ContentEncoding;
  /** Whether one invalid item refuses the batch (`Prefer: handling=strict`). */
  readonly strict: boolean;
  /** The owner of the idempotency key; empty without a token. */
  readonly caller: string;
  readonly idempotencyKey: string | undefined;
  /** Set for a replayed batch: how its source accepted it. */
  readonly replayOf?: ReplayOrigin;
}

/** A batch as another installation accepted it, without its body. */
export interface ReplayOrigin extends StoredBatch {
  /** The numbers of items that were accepted and rejected there. */
  readonly accepted: number;
  readonly rejected: number;
  /** See `RawBatch`. */
  readonly excluded?: readonly number[];
  /** The id of the log that received it, in hexadecimal, if known. */
  readonly logId?: string;
}

export type IngestOutcome =
  | {
      readonly accepted: true;
      readonly batchId: BatchId;
      readonly rawKey: string;
      /** The number of accepted items. */
      readonly enqueued: number;
      readonly rejected: number;
      /** Absent if no item was rejected, and for a replayed batch. */
      readonly rejectedByCode?: RejectedByCode;
      readonly errors: readonly ItemError[];
      /** For a replayed batch: whether it was already here, so that nothing was stored. */
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
  /** Whether one rejected item refuses the batch. */
  readonly strict?: boolean;
  /**
   * The over-limit items, as in `StoredBatch`; `rejected` includes them. If it is set, even to an
   * empty list, it is final and the limits are not checked again.
   */
  readonly excluded?: readonly number[];
}

export interface Idempotency {
  readonly key: string;
  /** SHA-256 of the inflated body, 32 bytes: a retry may compress the body differently. */
  readonly bodySha256: Uint8Array;
}

export interface StoredBatch {
  readonly batchId: BatchId;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  /**
   * The ascending indexes of the over-limit items. They cannot be derived from the body, so they are
   * stored with it. Absent: none.
   */
  readonly excluded?: readonly number[];
}

/** The batch that first used an idempotency key, with the SHA-256 of its inflated body. */
export interface EarlierBatch extends StoredBatch {
  readonly bodySha256: Uint8Array;
}

/** Stores a batch and queues it in one step. */
export interface Intake {
  /**
   * Makes the raw body durable and queues its items before it resolves. If the key is already used,
   * it stores nothing and returns the earlier batch, once that is durable. Over-limit items are
   * rejected; the stored batch lists them.
   * @throws {Unavailable} nothing is acknowledged; the batch is counted as a whole or not at all.
   * @throws {AllItemsOverLimit} nothing is stored, because all items are over the limit, or one is
   *   and the batch is strict.
   */
  accept(
    batch: Batch,
  ): Promise<{ earlier: EarlierBatch } | { earlier?: never; stored: StoredBatch }>;
  /** The durable batch of the caller's key, if the key is still kept. */
  recall(caller: string, key: string): Promise<EarlierBatch | undefined>;
}

/** The batch is refused for its over-limit items. */
export class AllItemsOverLimit extends Error {
  override readonly name = 'AllItemsOverLimit';
  readonly excluded: readonly number[];

  constructor(excluded: readonly number[]) {
    super(`${excluded.length} items exceed the counter limits of their days`);
    this.excluded = excluded;
  }
}

/** A batch of another installation on its way to storage. */
export interface ReplayedBatch extends Batch {
  readonly origin: ReplayOrigin;
}

export type ReplayResult =
  | { readonly kind: 'stored' }
  /** The batch is already here, perhaps under another id: its idempotency key was used here, too. */
  | { readonly kind: 'known'; readonly batch: StoredBatch }
  /** Another body has its id here. */
  | { readonly kind: 'conflict'; readonly detail: string }
  /** It is no longer known whether the batch was counted here. */
  | { readonly kind: 'undecidable'; readonly detail: string };

/** Accepts batches of another installation under their original ids. */
export interface ReplayIntake {
  /**
   * Makes the raw body durable and queues its items, once per batch id, however often the batch is
   * sent.
   * @throws {Unavailable} as `Intake` does.
   */
  replay(batch: ReplayedBatch): Promise<ReplayResult>;
}

/** The batch cannot be stored now. */
export class Unavailable extends Error {
  readonly code: Extract<
    ProblemCode,
    'overloaded' | 'stopping' | 'storage_failed' | 'archive_unavailable'
  >;
  readonly retryAfterSeconds: number;

  constructor(code: Unavailable['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'Unavailable';
    this.code = code;
    this.retryAfterSeconds = code === 'overloaded' ? 1 : 5;
  }
}

/** Increments with a deduplication key, so that they count once. */
export interface Delivery<Key> {
  readonly dedupKey: Key;
  readonly increments: Increments;
}

/** The deliveries can never be counted, at least not together; retries are pointless. */
export class PermanentFailure extends Error {
  override readonly name = 'PermanentFailure';
}

export interface CounterStore<Key, D extends Delivery<Key> = Delivery<Key>> {
  /**
   * Adds the increments of the new deliveries and records their keys, in one atomic step. `repeated`
   * were counted before.
   * @throws {PermanentFailure} or another error: either nothing is counted, or it is unknown whether
   *   everything is.
   */
  apply(deliveries: readonly D[]): Promise<{ counted: readonly D[]; repeated: readonly D[] }>;
}

export interface CounterQuery {
  /** The range is inclusive. */
  readonly from: CalendarDate;
  readonly to: CalendarDate;
  /** Empty: all. */
  readonly types: readonly string[];
  /** Empty: all. */
  readonly states: readonly string[];
}

export interface CounterReader {
  /**
   * Passes the rows to `take` in pieces, because there may be millions; by date, then by sort key in
   * UTF-8 byte order. If `take` returns false, it stops and returns false.
   */
  query(query: CounterQuery, take: (rows: readonly CounterRow[]) => boolean): Promise<boolean>;
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

/** A raw body with its metadata. */
export interface RawBatch extends StoredBatch {
  readonly body: Uint8Array;
  readonly encoding: ContentEncoding;
  /** The numbers of items that were accepted and rejected at intake. */
  readonly accepted: number;
  readonly rejected: number;
}

/** A raw batch without its body. */
export type BatchDetails = Pick<RawBatch, 'encoding' | 'accepted' | 'rejected' | 'excluded'> & {
  /**
   * The token name of the sender, or empty. This and the next two members are absent if the engine does
   * not record them.
   */
  readonly caller?: string | undefined;
  readonly idempotencyKey?: string | undefined;
  /** The id of the log that received the batch, in hexadecimal. */
  readonly logId?: string | undefined;
};

/** A message that cannot be counted. */
export interface DeadLetter {
  /** The id on the queue, which changes with a redrive. */
  readonly messageId: string;
  /** The id of the first send, which stays the same. */
  readonly originalId: string;
  /** When it was first sent; milliseconds since 1970. */
  readonly sentAt: number;
  /** For a replayed batch: when it was received here; milliseconds since 1970. */
  readonly replayedAt?: number;
  readonly body: string;
  readonly reason: string;
  /** When it first became a dead letter; undefined if it is not one yet. */
  readonly firstFailedAt?: number | undefined;
}

export interface DeadLetterSink {
  /** Adds dead letters; returns the message ids of those that are certainly stored. */
  add(deadLetters: readonly DeadLetter[]): Promise<ReadonlySet<string>>;
}

/** The queue to the processor. */
export interface ChunkQueue {
  /** @throws if not every chunk was sent; some may have been. */
  send(chunks: readonly Chunk[]): Promise<void>;
}

/** The state of a pipeline, for health checks. */
export interface PipelineStatus {
  /** Why no batch would be accepted now; undefined if one would. */
  readonly unavailable: { readonly code: Unavailable['code']; readonly detail: string } | undefined;
  /** The backlog: the exact number of items, or the approximate number of messages. */
  readonly pending: {
    readonly unit: 'items' | 'messages';
    readonly amount: number;
    /** Their size in the log, if there is a log. */
    readonly bytes?: number;
  };
  readonly deadLetters: number;
  /** Why, the most frequent reasons first; undefined: none, or unknown. */
  readonly deadLetterReasons?: readonly DeadLetterReason[] | undefined;
  /**
   * Everything acknowledged before this moment is counted or a dead letter. Milliseconds since 1970;
   * undefined: unknown.
   */
  readonly countedThrough: number | undefined;
  /** When the latest batch was received; milliseconds since 1970; undefined: none, or unknown. */
  readonly lastReceivedAt: number | undefined;
  /** The latest date that has counters; undefined: none, or unknown. */
  readonly latestDate?: CalendarDate | undefined;
  /** The copy of the log in an archive, if there is one. */
  readonly archive?: ArchiveState | undefined;
}

export interface DeadLetterReason {
  /** Its code: the text may quote a body. */
  readonly reason: string;
  /** How many dead letters have it. */
  readonly count: number;
}

/** How far an archive is behind the log. */
export interface ArchiveState {
  /** Whether batches are acknowledged only once the archive holds them. */
  readonly isSync: boolean;
  readonly lagBytes: number;
  /** Age of the oldest batch that the archive does not hold; 0 if there is none. */
  readonly lagSeconds: number;
  /** Why the archive cannot be reached now. */
  readonly problem: string | undefined;
}

/** Accepts batches. A `BorrowedBody` must be copied before `ingest` returns its promise. */
export interface Ingest<Body extends BorrowedBody = Uint8Array> {
  /** Invalid input is an outcome, not an error. A property, because TypeScript compares methods loosely. */
  readonly ingest: (submission: Submission<Body>) => Promise<IngestOutcome>;
}

/** Answers queries. */
export interface Queries {
  /**
   * Answers a request to `/stats`; `unchanged` if `known` has the version of the response. An aborted
   * `signal` cancels the request.
   * @throws {Unavailable} if the counters cannot be read now.
   */
  stats(request: StatsRequest, known: KnownVersions, signal?: AbortSignal): Promise<StatsAnswer>;
  receipt(batchId: string): Promise<Receipt | undefined>;
  status(): Promise<PipelineStatus>;
}
