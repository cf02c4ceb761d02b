import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';

import { Unavailable, type Receipt } from '../../../pipeline/ports.ts';
import {
  isOfManyDays,
  type KnownVersions,
  type StatsAnswer,
  type StatsRequest,
} from '../../../pipeline/stats/stats.ts';
import { AnswerPieces } from './answer-pieces.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { CounterSizes, FromReader, ReaderRequest, ToReader } from '../writer/messages.ts';
import { followWorker, startWorker } from '../workers.ts';

/** The answer to a request of each kind. */
interface Answers {
  readonly stats: StatsAnswer;
  readonly receipt: { readonly receipt: Receipt | undefined };
  readonly sizes: { readonly sizes: CounterSizes };
}

interface PendingRequest {
  readonly isLong: boolean;
  readonly resolve: (answer: Answers[keyof Answers]) => void;
  readonly reject: (reason: Error) => void;
  /** The pieces of a streamed response. */
  pieces?: AnswerPieces;
}

/**
 * The limit of pending queries of many days, and separately of all others, so that the former do
 * not delay the latter.
 */
const pendingMax = 256;

/**
 * The main thread's side of a reader thread. This folder's files work together so: the client sends
 * requests to `reader-worker`, which answers those for receipts (`receipts`) and sizes
 * (`stats-reader`) at once. `StatsResponder` answers queries of the counters: queries share the
 * thread by `RoundRobin`, small responses are sent whole, large ones are streamed as fast as their
 * consumers read (`AnswerPieces`), and `AdmissionQueue` limits how many are streamed at a time.
 */
export class ReaderClient {
  /** Resolves if the reader fails, with the reason and what to do; never rejects. */
  readonly failed: Promise<Error>;
  readonly #reportFailure: (error: Error) => void;
  readonly #worker: Worker;
  readonly #pending = new Map<number, PendingRequest>();
  #nextId = 0;
  #isGone = false;

  static async start(options: EmbeddedOptions): Promise<ReaderClient> {
    const { worker } = await startWorker('reader/reader-worker', { workerData: options });
    return new ReaderClient(worker);
  }

  private constructor(worker: Worker) {
    this.#worker = worker;
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.failed = promise;
    this.#reportFailure = resolve;
    worker.on('message', (message: FromReader) => this.#receive(message));
    followWorker(worker, 'reader', (why) => this.#abandon(why));
  }

  /**
   * @param signal cancels the request
   * @throws {Unavailable} if too many requests wait, the reader has ended, or `signal` is aborted.
   */
  stats(request: StatsRequest, known: KnownVersions, signal?: AbortSignal): Promise<StatsAnswer> {
    return this.#ask({ kind: 'stats', request, known }, signal);
  }

  /** @throws as `stats` does. */
  async receipt(batchId: string): Promise<Receipt | undefined> {
    return (await this.#ask({ kind: 'receipt', batchId })).receipt;
  }

  /** @throws as `stats` does. */
  async sizes(): Promise<CounterSizes> {
    return (await this.#ask({ kind: 'sizes' })).sizes;
  }

  async close(): Promise<void> {
    // A slow consumer of a streamed response must not delay the stop.
    for (const [id, { pieces }] of [...this.#pending]) {
      if (pieces === undefined) continue;
      this.#send({ kind: 'cancel', id });
      this.#fail(id, new Unavailable('stopping', 'The server is stopping.'));
    }
    while (this.#pending.size > 0) await new Promise((done) => setTimeout(done, 5));
    if (this.#worker.threadId < 0) return;
    const exit = once(this.#worker, 'exit');
    this.#send({ kind: 'close' });
    await exit;
  }

  async #ask<Kind extends keyof Answers>(
    request: Extract<ReaderRequest, { kind: Kind }>,
    signal?: AbortSignal,
  ): Promise<Answers[Kind]> {
    if (this.#isGone) throw new Unavailable('stopping', 'The server is stopping.');
    if (signal?.aborted === true) throw cancelled();
    const readerRequest: ReaderRequest = request;
    const isLong = readerRequest.kind === 'stats' && isOfManyDays(readerRequest.request);
    const alike = [...this.#pending.values()].filter((other) => other.isLong === isLong);
    if (alike.length >= pendingMax) throw tooMany();
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<Answers[Kind]>();
    const settle = (answer: Answers[keyof Answers]) => resolve(answer as Answers[Kind]);
    this.#pending.set(id, { isLong, resolve: settle, reject });
    const abort = () => {
      this.#cancel(id);
      reject(cancelled());
    };
    signal?.addEventListener('abort', abort);
    this.#send({ ...request, id });
    try {
      return await promise;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  #send(message: ToReader): void {
    this.#worker.postMessage(message);
  }

  #cancel(id: number): void {
    if (this.#pending.delete(id)) this.#send({ kind: 'cancel', id });
  }

  #receive(message: FromReader): void {
    if (message.kind === 'ready') return;
    if (message.kind === 'broken') {
      this.#abandon(message.message);
      return;
    }
    const { id } = message;
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    switch (message.kind) {
      case 'failed':
        this.#fail(id, new Error(message.message));
        return;
      case 'busy':
        this.#fail(id, tooMany());
        return;
      case 'stream': {
        const pieces = new AnswerPieces({
          consumed: (bytes) => this.#send({ kind: 'consumed', id, bytes }),
          cancel: () => this.#cancel(id),
        });
        pending.pieces = pieces;
        pending.resolve({ kind: 'stream', version: message.version, pieces });
        return;
      }
      case 'piece':
        pending.pieces?.add(message.bytes);
        return;
      case 'end':
        pending.pieces?.finish('ended');
        break;
      case 'whole':
      case 'unchanged':
      case 'receipt':
      case 'sizes':
        pending.resolve(message);
    }
    this.#pending.delete(id);
  }

  #fail(id: number, reason: Error): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.reject(reason);
    pending?.pieces?.finish(reason);
  }

  #abandon(why: string): void {
    this.#isGone = true;
    this.#reportFailure(new Error(why));
    for (const id of [...this.#pending.keys()]) {
      this.#fail(id, new Unavailable('storage_failed', 'The counters cannot be read now.'));
    }
  }
}

function cancelled(): Unavailable {
  return new Unavailable('stopping', 'The request was cancelled.');
}

function tooMany(): Unavailable {
  return new Unavailable(
    'overloaded',
    'Too many queries are being answered, or they delay counting. Send the request again after a moment, for fewer days or rows if possible.',
  );
}
