import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

import {
  Unavailable,
  type CounterQuery,
  type Receipt,
  type TakeRows,
} from '../../../pipeline/ports.ts';
import {
  isOfManyDays,
  type KnownVersions,
  type StatsAnswer,
  type StatsRequest,
} from '../../../pipeline/stats.ts';
import { AnswerPieces } from './answer-pieces.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { CounterSizes, FromReader, ReaderRequest, ToReader } from '../writer/messages.ts';
import { workerUrl } from '../worker-url.ts';

type AnswerMessage = Exclude<FromReader, { kind: 'ready' | 'broken' | 'busy' | 'failed' }>;

/** Handles the messages that answer one question. */
interface AnswerHandler {
  /** Handles a message; returns whether it was the last one. */
  readonly receive: (message: AnswerMessage) => boolean;
  readonly fail: (reason: Error) => void;
  /** Whether the consumer is receiving a streamed answer. */
  readonly isStreaming: () => boolean;
}

interface PendingQuestion extends AnswerHandler {
  readonly isLong: boolean;
}

const notStreaming = () => false;

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
    const worker = new Worker(workerUrl('reader/reader-worker'), { workerData: options });
    await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    return new ReaderClient(worker);
  }

  private constructor(worker: Worker) {
    this.#worker = worker;
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.failed = promise;
    this.#reportFailure = resolve;
    worker.removeAllListeners('error');
    worker.on('message', (message: FromReader) => this.#receive(message));
    worker.on('error', (error) => {
      this.#abandon(error instanceof Error ? error.message : String(error));
    });
    worker.on('exit', () => this.#abandon('the reader thread ended'));
  }

  /**
   * @param signal cancels the question
   * @throws {Unavailable} if too many questions wait, the reader has ended, or `signal` is aborted.
   */
  async stats(
    request: StatsRequest,
    known: KnownVersions,
    signal?: AbortSignal,
  ): Promise<StatsAnswer> {
    const question = { kind: 'stats', request, known } as const;
    return await this.#ask<StatsAnswer>(question, signal, (id, settle) => {
      let pieces: AnswerPieces | undefined;
      return {
        receive: (message) => {
          switch (message.kind) {
            case 'whole':
            case 'unchanged':
              settle(message);
              return true;
            case 'stream':
              pieces = new AnswerPieces({
                consumed: (size) => this.#send({ kind: 'consumed', id, size }),
                cancel: () => this.#cancel(id),
              });
              settle({ kind: 'stream', version: message.version, pieces });
              return false;
            case 'piece':
              pieces?.add(message.bytes);
              return false;
            case 'end':
            case 'rows':
            case 'receipt':
            case 'sizes':
              pieces?.finish('ended');
              return true;
          }
        },
        fail: (reason) => pieces?.finish(reason),
        isStreaming: () => pieces !== undefined,
      };
    });
  }

  /** Passes rows to `take` until it returns false or there are no more. @throws as `stats` does. */
  async rows(query: CounterQuery, take: TakeRows, signal?: AbortSignal): Promise<boolean> {
    return await this.#ask<boolean>({ kind: 'rows', query }, signal, (id, settle) => ({
      receive: (message) => {
        if (message.kind === 'rows' && take(message.rows)) {
          this.#send({ kind: 'consumed', id, size: message.size });
          return false;
        }
        if (message.kind === 'rows') this.#cancel(id);
        settle(message.kind === 'end');
        return true;
      },
      fail: () => undefined,
      isStreaming: notStreaming,
    }));
  }

  /** @throws as `stats` does. */
  async receipt(batchId: string): Promise<Receipt | undefined> {
    const question = { kind: 'receipt', batchId } as const;
    return await this.#ask<Receipt | undefined>(question, undefined, (_, settle) => ({
      receive: (message) => {
        settle(message.kind === 'receipt' ? message.receipt : undefined);
        return true;
      },
      fail: () => undefined,
      isStreaming: notStreaming,
    }));
  }

  /** @throws as `stats` does. */
  async sizes(): Promise<CounterSizes> {
    return await this.#ask<CounterSizes>({ kind: 'sizes' }, undefined, (_, settle) => ({
      receive: (message) => {
        if (message.kind === 'sizes') settle(message.sizes);
        return true;
      },
      fail: () => undefined,
      isStreaming: notStreaming,
    }));
  }

  async close(): Promise<void> {
    // A slow consumer of a streamed answer must not delay the stop.
    for (const [id, { isStreaming }] of [...this.#pending]) {
      if (!isStreaming()) continue;
      this.#send({ kind: 'cancel', id });
      this.#fail(id, new Unavailable('stopping', 'The server is stopping.'));
    }
    while (this.#pending.size > 0) await new Promise((done) => setTimeout(done, 5));
    if (this.#worker.threadId < 0) return;
    const exit = once(this.#worker, 'exit');
    this.#send({ kind: 'close' });
    await exit;
  }

  async #ask<T>(
    request: ReaderRequest,
    signal: AbortSignal | undefined,
    begin: (id: number, settle: (result: T) => void) => AnswerHandler,
  ): Promise<T> {
    if (this.#isGone) throw new Unavailable('stopping', 'The server is stopping.');
    if (signal?.aborted === true) throw cancelled();
    const isLong = request.kind === 'stats' && isOfManyDays(request.request);
    const alike = [...this.#pending.values()].filter((asked) => asked.isLong === isLong);
    if (alike.length >= pendingMax) throw tooMany();
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const { receive, fail, isStreaming } = begin(id, resolve);
    this.#pending.set(id, {
      receive,
      isLong,
      isStreaming,
      fail: (reason) => {
        reject(reason);
        fail(reason);
      },
    });
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
    if (message.kind === 'failed') this.#fail(id, new Error(message.message));
    else if (message.kind === 'busy') this.#fail(id, tooMany());
    else if (asked?.receive(message) === true) this.#pending.delete(id);
  }

  #fail(id: number, reason: Error): void {
    const asked = this.#pending.get(id);
    this.#pending.delete(id);
    asked?.fail(reason);
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
