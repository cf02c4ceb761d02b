/// <reference lib="esnext.disposable" preserve="true" />
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

import { atLeast, checkedAddress, checkedLimits, checkedToken, timerMs } from './checks.ts';
import { EventBuffer, type BufferedEvent } from './event-buffer.ts';
import { Losses, textOf, writeError } from './losses.ts';
import {
  defaultRetryLimits,
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

/** AbortSignal, where the program has the types of Node.js or of browsers; they need not be there. */
type Signal = typeof globalThis extends { AbortSignal: { prototype: infer Type } } ? Type : never;

/** One event of a device. Other members are kept in the raw body, and not looked at. */
export interface DeviceEvent {
  readonly type: string;
  readonly state: string;
  /** A Date, or RFC 3339 with its zone: the event counts on the date as it is written there. */
  readonly timestamp: string | Date;
  readonly [other: string]: unknown;
}

/** A batch that is not tried any more: its events may or may not have been counted. */
export interface GivenUpBatch {
  readonly reason: string;
  /** Under this key the same body can be sent again later, with `sendBatch`, and counts once. */
  readonly key: string;
  /** As it was first sent; compressed if `headers` says so. */
  readonly body: Uint8Array | string;
  readonly headers: Readonly<Record<string, string>>;
  readonly events: readonly DeviceEvent[];
}

/** What is wrong with a refused event; `field` is null where it is the event as a whole. */
export type Refusal = Omit<ItemError, 'index'>;

export interface ClientOptions {
  /** Where the server is: `http://127.0.0.1:8080`. */
  readonly url: string;
  /** 1 to 512 characters of visible ASCII. */
  readonly token?: string | undefined;
  /** A batch is sent once it has so many events (1,000), */
  readonly batchItemsMax?: number | undefined;
  /** or so many bytes, before it is compressed (1 MiB; the server's bound is 4 MiB unless it was set), */
  readonly batchBytesMax?: number | undefined;
  /** or once its first event has waited so long (200 ms). */
  readonly batchMsMax?: number | undefined;
  /** Bytes of memory for events that are not acknowledged yet, by estimate; then `send` waits (16 MiB). */
  readonly bufferBytesMax?: number | undefined;
  /** Batches under way at a time (4). */
  readonly concurrency?: number | undefined;
  /** Batches of `send` are compressed from so many bytes on (1,024); `Infinity`: none is. */
  readonly gzipBytesMin?: number | undefined;
  /**
   * False: batches go uncompressed, also those that `sendBatch` is given compressed (true). By itself a client
   * leaves compression out as soon as the server answers that compressed batches do not reach it intact.
   */
  readonly compress?: boolean | undefined;
  /** How long a batch is tried: 60 requests or ten minutes, as `defaultRetryLimits` says. */
  readonly retry?:
    { readonly [Name in keyof RetryLimits]?: RetryLimits[Name] | undefined } | undefined;
  /**
   * Told of each event that the server refuses. What it throws, or its promise rejects with, the next
   * `flush` tells; nothing waits for its promise.
   */
  readonly onRefused?: ((event: DeviceEvent, refusal: Refusal) => unknown) | undefined;
  /** Told of each batch of `send` that could not be delivered; the same. */
  readonly onGaveUp?: ((batch: GivenUpBatch) => unknown) | undefined;
  /**
   * Called before each wait for a batch to be sent again; errors are reported as those of `onRefused`.
   * Without it, a line on stderr says so of a batch that is tried for more than five seconds, or has no
   * answer for ten, at most every 30 seconds.
   */
  readonly onRetry?: ((retry: Retry) => unknown) | undefined;
  /**
   * Called once, with the server's answer, where compressed batches do not reach the server intact and the
   * client goes on without compression; errors are reported as those of `onRefused`. Without it, a line on
   * stderr says so.
   */
  readonly onCompressionOff?: ((reason: string) => unknown) | undefined;
  /**
   * Writes those lines elsewhere.
   * @internal
   */
  readonly complain?: (text: string) => void;
  /** Aborted, it gives up all that is not acknowledged. */
  readonly signal?: Signal | undefined;
}

/** Events since the client was made. */
export interface Totals {
  readonly accepted: number;
  readonly refused: number;
  readonly givenUp: number;
}

/**
 * Events were refused or given up, and no `onRefused` or `onGaveUp` was there to be told, or it failed.
 * Tells of the first, and how many more there were.
 */
export class DeliveryError extends Error {
  override readonly name = 'DeliveryError';
}

export interface Client extends AsyncDisposable {
  /**
   * Resolves once the event is in the buffer; waits while that is full.
   * @throws RangeError for an event larger than a batch, TypeError for one that is not JSON, Error
   *   after `close`.
   */
  send(event: DeviceEvent): Promise<void>;
  /**
   * Sends what is there, and resolves once all events of earlier calls of `send` are acknowledged,
   * refused or given up.
   * @throws DeliveryError for losses since the last `flush` that nobody was told of. What no `flush`
   *   tells of, the end of the process writes to stderr.
   */
  flush(): Promise<Totals>;
  /**
   * Takes no more events, flushes, and after `timeoutMs` (30,000) gives up what is left.
   * @throws DeliveryError as `flush` does, RangeError for a time that cannot be waited: then nothing
   *   is closed.
   */
  close(timeoutMs?: number): Promise<Totals>;
  /** Sends one body as it is, at once, beside the buffer, and says what became of it; never rejects. */
  sendBatch(batch: Batch, signal?: Signal): Promise<PostOutcome>;
  /** Whether the server has ever answered. */
  readonly hasReached: boolean;
}

/**
 * A client for one server. It starts nothing before the first event.
 * @throws TypeError or RangeError for an option that could never work; the message says which.
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
    // An application may well start before its server: that is waited for like a restart.
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
          ? complain(`${url} does not get compressed batches intact; sending them plain: ${reason}`)
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
   * One that throws, or whose promise rejects, must not take the other events or the process with it:
   * the next flush says so.
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
   * Strict, for the server names at most twenty refused items of a batch: those are taken out, and
   * the rest is sent under a new key. Nothing of a batch refused in this way was stored.
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
        // The server's bound is lower than ours.
        const half = events.length >> 1;
        await this.#deliver(events.slice(0, half));
        events = events.slice(half);
        continue;
      }
      const isOfItems = outcome.kind === 'refused' && outcome.status === 400;
      const named = byIndex(isOfItems ? outcome.errors : [], events.length);
      if (named.size === 0) {
        this.#giveUp(batch, events, reasonOf(outcome));
        return;
      }
      for (const [index, error] of named) this.#refuse(events[index], error);
      events = events.filter((_, index) => !named.has(index));
    }
  }

  /** Not all of them, where the server was not told to be strict: a proxy may drop the header. */
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
      `${nameless} of the ${events.length} events of a batch were refused, and the answer does not name them; is "Prefer: handling=strict" lost on the way to the server?`,
    );
  }

  async #bodyOf(events: readonly BufferedEvent[]) {
    const body = `{"processed_devices":[${events.map(({ text }) => text).join(',')}]}`;
    const isSmall = Buffer.byteLength(body) < this.#gzipBytesMin;
    if (isSmall || !this.#server.takesCompressed) return { body, headers: {} };
    return { body: await compress(body), headers: { 'content-encoding': 'gzip' } };
  }

  #refuse(event: BufferedEvent | undefined, { field, code, message }: ItemError): void {
    if (event === undefined) return;
    this.#totals.refused += 1;
    if (this.#options.onRefused === undefined) {
      this.#losses.add(`an event was refused: ${code}: ${message}`);
    } else {
      const { onRefused } = this.#options;
      this.#callBack(() => onRefused(event.event, { field, code, message }));
    }
  }

  #giveUp(
    { body, key, headers }: { body: Uint8Array | string; key: string; headers: object },
    events: readonly BufferedEvent[],
    reason: string,
  ): void {
    this.#totals.givenUp += events.length;
    if (this.#options.onGaveUp === undefined) {
      const given = events.length === 1 ? '1 event was' : `${events.length} events were`;
      this.#losses.add(`${given} given up: ${reason}`);
    } else {
      const { onGaveUp } = this.#options;
      const given = { reason, key, body, headers: { ...headers } };
      this.#callBack(() => onGaveUp({ ...given, events: events.map(({ event }) => event) }));
    }
  }
}

/** The refused items by their index. */
function byIndex(errors: readonly ItemError[], items: number): ReadonlyMap<number, ItemError> {
  const sound = errors.filter(
    ({ index }) => Number.isInteger(index) && index >= 0 && index < items,
  );
  return new Map(sound.map((error) => [error.index, error]));
}

function reasonOf(outcome: Exclude<PostOutcome, { kind: 'accepted' }>): string {
  return outcome.kind === 'gave_up'
    ? outcome.reason
    : `${outcome.status} ${outcome.code}: ${outcome.detail}`;
}
