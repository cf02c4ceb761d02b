/// <reference lib="esnext.disposable" preserve="true" />
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

import { atLeast, checkedAddress, checkedLimits, checkedToken, timerMs } from './checks.ts';
import { EventBuffer, type BufferedEvent } from './event-buffer.ts';
import { Losses, textOf, writeError } from './losses.ts';
import {
  defaultRetryLimits,
  failureOf,
  postBatch,
  realEffects,
  serverAt,
  type Batch,
  type ItemError,
  type PostHooks,
  type PostOutcome,
  type Retry,
  type RetryLimits,
} from './post-batch.ts';
import { RetryReporter } from './retry-reporter.ts';
import { Slots } from './slots.ts';

const compress = promisify(gzip);

/** AbortSignal if the program includes the types of Node.js or of browsers, otherwise never. */
type Signal = typeof globalThis extends { AbortSignal: { prototype: infer Type } } ? Type : never;

/** One event of a device. Other members are stored with the raw body and otherwise ignored. */
export interface DeviceEvent {
  readonly type: string;
  readonly state: string;
  /**
   * A Date, or an RFC 3339 date-time with an offset; by default the event counts on the date as written.
   */
  readonly timestamp: string | Date;
  readonly [other: string]: unknown;
}

/** A batch that the client has stopped sending. Its events may or may not be counted. */
export interface GivenUpBatch {
  readonly reason: string;
  /** With this key, `sendBatch` can send the same body again later; it counts once. */
  readonly key: string;
  /** The body as first sent; compressed if `headers` says so. */
  readonly body: Uint8Array | string;
  readonly headers: Readonly<Record<string, string>>;
  readonly events: readonly DeviceEvent[];
}

/** Why an event was rejected; `field` is null for the event as a whole. */
export type Refusal = Omit<ItemError, 'index'>;

export interface ClientOptions {
  /** The address of the server: `http://127.0.0.1:8080`. */
  readonly url: string;
  /** 1 to 512 characters of visible ASCII. */
  readonly token?: string | undefined;
  /** A batch is sent when it has this number of events (default: 1,000), */
  readonly batchItemsMax?: number | undefined;
  /** or this number of bytes before compression (default: 1 MiB; the server's default limit is 4 MiB), */
  readonly batchBytesMax?: number | undefined;
  /** or when its first event has waited this long (default: 200 ms). */
  readonly batchMsMax?: number | undefined;
  /** The estimated memory of unacknowledged events at which `send` waits (default: 16 MiB). */
  readonly bufferBytesMax?: number | undefined;
  /** Batches in flight at a time (default: 4). */
  readonly concurrency?: number | undefined;
  /** Batches of `send` with at least this many bytes are compressed (default: 1,024; `Infinity`: none). */
  readonly gzipBytesMin?: number | undefined;
  /**
   * False: all batches are sent uncompressed, even if `sendBatch` gets them compressed (default: true).
   * The client stops compressing by itself when the server answers `compression_not_supported`.
   */
  readonly compress?: boolean | undefined;
  /** How long a batch is retried (default: `defaultRetryLimits`, 60 requests or ten minutes). */
  readonly retry?:
    { readonly [Name in keyof RetryLimits]?: RetryLimits[Name] | undefined } | undefined;
  /**
   * Called for each event that the server rejects. The next `flush` rejects with what it throws or its
   * promise rejects with; the promise is not awaited.
   */
  readonly onRefused?: ((event: DeviceEvent, refusal: Refusal) => unknown) | undefined;
  /** Called for each batch of `send` that could not be delivered; errors as for `onRefused`. */
  readonly onGaveUp?: ((batch: GivenUpBatch) => unknown) | undefined;
  /**
   * Called before each wait for a retry; errors as for `onRefused`. Without it, the client writes a line
   * to stderr when a batch is retried for more than 5 s or has no response for 10 s, at most every 30 s.
   */
  readonly onRetry?: ((retry: Retry) => unknown) | undefined;
  /**
   * Called once, with the server's response, when the client stops compressing because a gateway destroys
   * compressed batches; errors as for `onRefused`. Without it, the client writes a line to stderr.
   */
  readonly onCompressionOff?: ((reason: string) => unknown) | undefined;
  /**
   * Writes those lines instead of stderr.
   * @internal
   */
  readonly complain?: (text: string) => void;
  /** When aborted, the client gives up all unacknowledged events. */
  readonly signal?: Signal | undefined;
}

/** Events since the client was created. */
export interface Totals {
  readonly accepted: number;
  readonly refused: number;
  readonly givenUp: number;
}

/**
 * Events were rejected or given up, and `onRefused` or `onGaveUp` was missing or failed. The message has
 * the first loss and the number of further ones.
 */
export class DeliveryError extends Error {
  override readonly name = 'DeliveryError';
}

export interface Client extends AsyncDisposable {
  /**
   * Resolves once the event is in the buffer; waits while the buffer is full.
   * @throws RangeError for an event larger than a batch, TypeError for one that is not JSON, Error
   *   after `close`.
   */
  send(event: DeviceEvent): Promise<void>;
  /**
   * Sends the buffered events, and resolves once all events of earlier calls of `send` are acknowledged,
   * rejected or given up.
   * @throws DeliveryError for losses since the last `flush` that no callback has handled. Losses that no
   *   `flush` reports are written to stderr when the process ends.
   */
  flush(): Promise<Totals>;
  /**
   * Accepts no more events, flushes, and gives up the remaining ones after `timeoutMs` (default: 30,000).
   * @throws DeliveryError as `flush` does; RangeError for an invalid time, and then nothing is closed.
   */
  close(timeoutMs?: number): Promise<Totals>;
  /** Sends one body at once, without the buffer, and returns its outcome; never rejects. */
  sendBatch(batch: Batch, signal?: Signal): Promise<PostOutcome>;
  /** Whether the server has ever answered. */
  readonly hasReached: boolean;
}

/**
 * Creates a client for one server: it buffers events, sends them in batches with an idempotency key,
 * and retries until each batch is acknowledged. It opens no connection before the first event.
 * @throws TypeError or RangeError for an invalid option; the message says which.
 */
export function createClient(options: ClientOptions): Client {
  return new BatchingClient(options);
}

class BatchingClient implements Client {
  readonly #options: ClientOptions;
  readonly #server;
  readonly #limits: RetryLimits;
  readonly #reporter: RetryReporter | undefined;
  readonly #hooks: Required<PostHooks>;
  readonly #gzipBytesMin: number;
  readonly #buffer: EventBuffer;
  readonly #slots: Slots;
  readonly #inFlight = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  readonly #signal: AbortSignal;
  readonly #totals = { accepted: 0, refused: 0, givenUp: 0 };
  readonly #losses = new Losses();

  constructor(options: ClientOptions) {
    this.#options = options;
    const token = checkedToken(options.token);
    const { compress } = options;
    this.#server = serverAt(checkedAddress(options.url), { token, compress });
    // An application may start before its server: treat this like a restart of the server.
    const firstContactMsMax = options.retry?.totalMsMax ?? defaultRetryLimits.totalMsMax;
    const defaults = { ...defaultRetryLimits, firstContactMsMax };
    this.#limits = checkedLimits(options.retry ?? {}, defaults);
    const { url } = this.#server;
    const { onRetry, onCompressionOff, complain = writeError } = options;
    if (onRetry === undefined) this.#reporter = new RetryReporter(url, complain);
    this.#hooks = {
      onRetry: this.#reporter?.onRetry ?? ((retry) => this.#callBack(() => onRetry?.(retry))),
      onCompressionOff: (reason) =>
        onCompressionOff === undefined
          ? complain(
              `compressed batches do not reach ${url} intact; sending uncompressed from now on: ${reason}`,
            )
          : this.#callBack(() => onCompressionOff(reason)),
    };
    this.#gzipBytesMin = atLeast(0, 'gzipBytesMin', options.gzipBytesMin ?? 1024);
    this.#slots = new Slots(atLeast(1, 'concurrency', options.concurrency ?? 4));
    this.#signal =
      options.signal === undefined
        ? this.#closing.signal
        : AbortSignal.any([options.signal, this.#closing.signal]);
    this.#buffer = new EventBuffer({
      itemsMax: atLeast(1, 'batchItemsMax', options.batchItemsMax ?? 1000),
      bytesMax: atLeast(1, 'batchBytesMax', options.batchBytesMax ?? 1024 * 1024),
      msMax: timerMs('batchMsMax', options.batchMsMax ?? 200),
      memoryBytesMax: atLeast(1, 'bufferBytesMax', options.bufferBytesMax ?? 16 * 1024 * 1024),
      signal: this.#signal,
      onBatch: (events) => this.#begin(events),
    });
  }

  get hasReached(): boolean {
    return this.#server.reached;
  }

  send(event: DeviceEvent): Promise<void> {
    return this.#buffer.add(event);
  }

  sendBatch(batch: Batch, signal?: AbortSignal): Promise<PostOutcome> {
    const either = signal === undefined ? this.#signal : AbortSignal.any([signal, this.#signal]);
    const hooks = this.#hooks;
    const outcome = postBatch(this.#server, batch, either, this.#limits, realEffects, hooks);
    return this.#reporter?.watch(outcome) ?? outcome;
  }

  async flush(): Promise<Totals> {
    await this.#buffer.drain();
    await Promise.allSettled(this.#inFlight);
    const untold = this.#losses.take();
    if (untold !== undefined) throw new DeliveryError(untold);
    return { ...this.#totals };
  }

  async close(timeoutMs = 30_000): Promise<Totals> {
    const leaveMs = timerMs('timeoutMs', timeoutMs);
    this.#buffer.close();
    const timer = setTimeout(() => this.#closing.abort(), leaveMs);
    try {
      return await this.flush();
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #begin(events: readonly BufferedEvent[]): void {
    const delivery = this.#slots.run(() => this.#deliver(events));
    const done = delivery.finally(() => {
      this.#inFlight.delete(done);
      this.#buffer.release(events);
    });
    this.#inFlight.add(done);
    done.catch((error: unknown) => this.#losses.add(`a delivery has failed: ${textOf(error)}`));
  }

  /**
   * Calls a user's callback. An error of it must not affect other events or end the process; the next
   * flush reports it.
   */
  #callBack(callback: () => unknown): void {
    const fail = (error: unknown) => this.#losses.add(`a callback has failed: ${textOf(error)}`);
    try {
      Promise.resolve(callback()).catch(fail);
    } catch (error) {
      fail(error);
    }
  }

  /**
   * Sends a batch with strict handling: if an item is invalid, nothing is stored. The response names at
   * most twenty invalid items; the client removes them and sends the rest with a new key.
   */
  async #deliver(all: readonly BufferedEvent[]): Promise<void> {
    let events = all;
    while (events.length > 0) {
      const batch = { ...(await this.#bodyOf(events)), key: randomUUID(), strict: true };
      const outcome = await this.sendBatch(batch);
      if (outcome.kind === 'accepted') {
        this.#accept(events, outcome);
        return;
      }
      if (outcome.kind === 'refused' && outcome.status === 413 && events.length > 1) {
        // The server's size limit is lower than ours.
        const half = events.length >> 1;
        await this.#deliver(events.slice(0, half));
        events = events.slice(half);
        continue;
      }
      const isOfItems = outcome.kind === 'refused' && outcome.status === 400;
      const named = byIndex(isOfItems ? outcome.errors : [], events.length);
      if (named.size === 0) {
        this.#giveUp(batch, events, failureOf(outcome));
        return;
      }
      for (const [index, error] of named) this.#refuse(events[index], error);
      events = events.filter((_, index) => !named.has(index));
    }
  }

  /** An accepted batch can have rejected items if a proxy has dropped `Prefer: handling=strict`. */
  #accept(
    events: readonly BufferedEvent[],
    { enqueued, rejected, errors }: Extract<PostOutcome, { kind: 'accepted' }>,
  ): void {
    const named = byIndex(errors, events.length);
    for (const [index, error] of named) this.#refuse(events[index], error);
    const missing = Math.max(rejected, events.length - enqueued);
    const nameless = Math.min(Math.max(0, missing - named.size), events.length - named.size);
    this.#totals.accepted += events.length - named.size - nameless;
    if (nameless === 0) return;
    this.#totals.refused += nameless;
    this.#losses.add(
      `the server rejected ${nameless} of the ${events.length} events of a batch without naming them; check whether a proxy removes the header "Prefer: handling=strict"`,
    );
  }

  async #bodyOf(events: readonly BufferedEvent[]): Promise<Pick<GivenUpBatch, 'body' | 'headers'>> {
    const body = `{"processed_devices":[${events.map(({ text }) => text).join(',')}]}`;
    const isSmall = Buffer.byteLength(body) < this.#gzipBytesMin;
    if (isSmall || !this.#server.takesCompressed) return { body, headers: {} };
    return { body: await compress(body), headers: { 'content-encoding': 'gzip' } };
  }

  #refuse(event: BufferedEvent | undefined, { field, code, message }: ItemError): void {
    if (event === undefined) return;
    this.#totals.refused += 1;
    const { onRefused } = this.#options;
    const refusal = { field, code, message };
    const tell = onRefused && (() => onRefused(event.event, refusal));
    this.#report(tell, `an event was rejected: ${code}: ${message}`);
  }

  #giveUp(
    { body, key, headers }: Pick<GivenUpBatch, 'body' | 'key' | 'headers'>,
    events: readonly BufferedEvent[],
    reason: string,
  ): void {
    this.#totals.givenUp += events.length;
    const { onGaveUp } = this.#options;
    const given = { reason, key, body, headers, events: events.map(({ event }) => event) };
    const count = events.length === 1 ? '1 event was' : `${events.length} events were`;
    this.#report(onGaveUp && (() => onGaveUp(given)), `${count} given up: ${reason}`);
  }

  /** Calls a user's callback; without one, the next flush reports the loss. */
  #report(callback: (() => unknown) | undefined, loss: string): void {
    if (callback === undefined) this.#losses.add(loss);
    else this.#callBack(callback);
  }
}

/** The valid item errors by index. */
function byIndex(errors: readonly ItemError[], items: number): ReadonlyMap<number, ItemError> {
  const valid = errors.filter(
    ({ index }) => Number.isInteger(index) && index >= 0 && index < items,
  );
  return new Map(valid.map((error) => [error.index, error]));
}
