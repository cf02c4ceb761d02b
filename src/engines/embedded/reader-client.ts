import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

import type { CounterRow } from '../../domain/counter.ts';
import { Unavailable } from '../../pipeline/ports.ts';
import type { EmbeddedOptions } from './engine-options.ts';
import type { FromReader, ReaderRequest, ToReader } from './messages.ts';
import { workerUrl } from './worker-url.ts';

type Answer = Extract<FromReader, { kind: 'answer' }>;

type TakeRows = (rows: readonly CounterRow[]) => void;

interface Asked {
  readonly take: TakeRows | undefined;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (reason: Error) => void;
}

const askedMax = 256;

/** The reader's thread, seen from the main thread: queries do not hold up requests. */
export class ReaderClient {
  /** Resolves, with why and what to do, if nothing can be read any more; never rejects. */
  readonly failed: Promise<Error>;
  readonly #reportFailure: (error: Error) => void;
  readonly #worker: Worker;
  readonly #asked = new Map<number, Asked>();
  #nextId = 0;
  #isGone = false;

  static async start(options: EmbeddedOptions): Promise<ReaderClient> {
    const worker = new Worker(workerUrl('reader-worker'), { workerData: options });
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

  /** @throws {Unavailable} when too many questions wait, or the reader is gone. */
  async ask(request: ReaderRequest, take?: TakeRows): Promise<Answer> {
    if (this.#isGone) throw new Unavailable('stopping', 'The server is stopping.');
    if (this.#asked.size >= askedMax) {
      throw new Unavailable('overloaded', 'Too many queries wait. Ask again after a moment.');
    }
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.#asked.set(id, { take, resolve, reject });
    this.#worker.postMessage({ ...request, id } satisfies ToReader);
    return await promise;
  }

  async close(): Promise<void> {
    while (this.#asked.size > 0) await new Promise((done) => setTimeout(done, 5));
    if (this.#worker.threadId < 0) return;
    const exit = once(this.#worker, 'exit');
    this.#worker.postMessage({ kind: 'close' } satisfies ToReader);
    await exit;
  }

  #receive(message: FromReader): void {
    if (message.kind === 'ready') return;
    if (message.kind === 'broken') {
      this.#abandon(message.message);
      return;
    }
    const asked = this.#asked.get(message.id);
    if (message.kind === 'rows') {
      asked?.take?.(message.rows);
      return;
    }
    this.#asked.delete(message.id);
    if (message.kind === 'answer') asked?.resolve(message);
    else asked?.reject(new Error(message.message));
  }

  #abandon(why: string): void {
    this.#isGone = true;
    this.#reportFailure(new Error(why));
    for (const { reject } of this.#asked.values()) {
      reject(new Unavailable('storage_failed', 'The counters cannot be read now.'));
    }
    this.#asked.clear();
  }
}
