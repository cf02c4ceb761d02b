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

/** A question that is not answered to its end. */
interface AnswerHandler {
  /** Takes a message; says whether it was the last one. */
  readonly receive: (message: AnswerMessage) => boolean;
  readonly fail: (reason: Error) => void;
  /** Whether its answer is under way. */
  readonly isStreaming: () => boolean;
}

interface PendingQuestion extends AnswerHandler {
  readonly isLong: boolean;
}

const notStreaming = () => false;

/** Of those that look at many days, and of the others: these are not refused on account of those. */
const pendingMax = 256;

/** The reader's thread, seen from the main thread: queries do not hold up requests. */
export class ReaderClient {
  /** Resolves, with why and what to do, if nothing can be read any more; never rejects. */
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
   * @param signal aborted by whoever does not want the answer any more
   * @throws {Unavailable} when too many questions wait, the reader is gone, or nobody wants the answer.
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
                consumed: (size) => this.#send({ kind: 'taken', id, size }),
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

  /** Hands rows over until there are no more, or no more are wanted. @throws as `stats` does. */
  async rows(query: CounterQuery, take: TakeRows, signal?: AbortSignal): Promise<boolean> {
    return await this.#ask<boolean>({ kind: 'rows', query }, signal, (id, settle) => ({
      receive: (message) => {
        if (message.kind === 'rows' && take(message.rows)) {
          this.#send({ kind: 'taken', id, size: message.size });
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
    // Who takes an answer piece by piece may take all day.
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
  return new Unavailable('stopping', 'Nobody waits for the answer any more.');
}

function tooMany(): Unavailable {
  return new Unavailable(
    'overloaded',
    'As many queries are answered as may be at once, or they hold up what is counted. Ask again after a moment, for less if you can.',
  );
}
