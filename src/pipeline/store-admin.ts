import type { BatchDetails } from './ports.ts';

/*
 * The operators' port: what the commands `raw`, `dlq`, `audit`, `rebuild`, `replay` and `stats` need of an
 * engine. Each engine implements it on its kind of storage; src/entry/cli/open-store.ts chooses the engine,
 * and the commands parse options, call the port and print. test/contract/ports/store-admin-contract.ts
 * runs on every engine.
 *
 * All times are milliseconds since 1970. Every method may be called while the store takes batches. Errors
 * are instances of Error whose messages name what is wrong and what to do.
 */

type Awaitable<T> = T | Promise<T>;

/** Batches received from `from` on and before `to`. */
export interface ReceivedRange {
  readonly from: number;
  /** `Number.MAX_SAFE_INTEGER` if the range has no end. */
  readonly to: number;
}

/** One opened store: a data directory, or the resources of a deployment. */
export interface StoreAdmin {
  /**
   * The day rule of the store; undefined if the store was opened without the part that records it.
   * @throws if there is no store.
   */
  dayZone(): string | undefined;
  readonly raw: RawBodies;
  /** Returns an error with the names of the store's parts and what to do; other errors as they are. */
  explain(error: unknown): unknown;
  /** Closes files and connections. Called once, after all calls have ended. */
  close(): void;
}

/** The raw bodies of a store. */
export interface RawBodies {
  /**
   * The batches of the range in the order of their storage, a page at a time; undefined: all batches.
   * The next page is requested after all work on the one before has ended. With `keys: 'kept'`, the
   * details have only idempotency keys by which a retry would still be recognised: a copy must not
   * revive others.
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

/** A batch in a listing. Its methods may run concurrently with those of other entries of the page. */
export interface RawBatchEntry {
  readonly damage?: never;
  readonly rawKey: string;
  readonly receivedAt: number;
  /** The size of the body as received. */
  readonly bytes: number;
  /** May take a request. Undefined if the batch was deleted since it was listed. */
  details(): Awaitable<BatchDetails | undefined>;
  /**
   * The body with the details; the body is valid until the next page is requested. Undefined if the
   * batch was deleted since it was listed.
   */
  load(): Awaitable<{ readonly body: Uint8Array; readonly details: BatchDetails } | undefined>;
}
