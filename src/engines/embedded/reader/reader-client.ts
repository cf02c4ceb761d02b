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

/** What answers a question of each kind. */
interface Answers {
  readonly stats: StatsAnswer;
  readonly receipt: { readonly receipt: Receipt | undefined };
  readonly sizes: { readonly sizes: CounterSizes };
}

interface PendingQuestion {
  readonly isLong: boolean;
  readonly resolve: (answer: Answers[keyof Answers]) => void;
  readonly reject: (reason: Error) => void;
  /** Of a streamed answer. */
  pieces?: AnswerPieces;
}

/** Limit for queries of many days, and separately for all others, which those must not crowd out. */
const pendingMax = 256;

/**
 * The main thread's side of a reader thread. This folder's files work together so: the client sends
 * questions to `reader-worker`, which answers receipts (`receipts`) and sizes (`stats-reader`) at once.
 * `StatsResponder` answers queries of the counters: queries share the thread by `RoundRobin`, small
 * answers are sent whole, large ones are streamed as fast as their consumers read (`AnswerPieces`),
 * and `AdmissionQueue` limits how many are streamed at a time.
 */
export class ReaderClient {
  /** Resolves if the reader fails, with the reason and what to do; never rejects. */
  readonly failed: Promise<Error>;
  readonly #reportFailure: (error: Error) => void;
  readonly #worker: Worker;
  readonly #pending = new Map<number, PendingQuestion>();
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
   * @param signal cancels the question
   * @throws {Unavailable} if too many questions wait, the reader has ended, or `signal` is aborted.
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
    // A slow consumer of a streamed answer must not delay the stop.
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
    const question: ReaderRequest = request;
    const isStats = question.kind === 'stats';
    const isLong = isStats && isOfManyDays(question.request);
    const alike = [...this.#pending.values()].filter((asked) => asked.isLong === isLong);
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
    const asked = this.#pending.get(id);
    if (asked === undefined) return;
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
        asked.pieces = pieces;
        asked.resolve({ kind: 'stream', version: message.version, pieces });
        return;
      }
      case 'piece':
        asked.pieces?.add(message.bytes);
        return;
      case 'end':
        asked.pieces?.finish('ended');
        break;
      case 'whole':
      case 'unchanged':
      case 'receipt':
      case 'sizes':
        asked.resolve(message);
    }
    this.#pending.delete(id);
  }

  #fail(id: number, reason: Error): void {
    const asked = this.#pending.get(id);
    this.#pending.delete(id);
    asked?.reject(reason);
    asked?.pieces?.finish(reason);
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
