import { Worker } from 'node:worker_threads';

import type {
  EnvironmentData,
  EnvironmentMessage,
  HandlerError,
  InvocationMessage,
} from './functions/lambda-messages.ts';

/** Lambda's time limit of the initialisation. */
const initMsMax = 10_000;

export type Outcome =
  | { readonly kind: 'succeeded'; readonly payload: string }
  | { readonly kind: 'failed'; readonly error: HandlerError }
  /** The environment has ended, and with it the invocation. */
  | { readonly kind: 'lost'; readonly reason: 'timeout' | 'killed' | 'ended'; detail: string };

interface EnvironmentSettings {
  readonly id: string;
  readonly data: EnvironmentData;
  readonly variables: Readonly<Record<string, string>>;
  /** Receives the console output of the handler. */
  readonly onOutput: ((text: string) => void) | undefined;
}

/**
 * An execution environment: a worker thread with its own environment variables and heap. Compared to a
 * process, a thread starts in a tenth of the time and needs no pipe, and `terminate` stops it between
 * any two instructions just as well, including its sockets. But it has no limit on memory outside the
 * heap (Buffers).
 */
export class Environment {
  readonly id: string;
  readonly ready: Promise<{ initMs: number; importMs: number } | HandlerError>;
  #isLost = false;
  #wasUsed = false;
  readonly #worker: Worker;
  #onOutcome: ((outcome: Outcome) => void) | undefined;

  constructor({ id, data, variables, onOutput }: EnvironmentSettings) {
    this.id = id;
    const started = performance.now();
    this.#worker = new Worker(new URL('./functions/lambda-environment.ts', import.meta.url), {
      workerData: data,
      env: variables,
      execArgv: [],
      stdout: true,
      stderr: true,
      // About a tenth of the memory remains for everything besides the heap.
      resourceLimits: { maxOldGenerationSizeMb: Math.floor(data.memoryMb * 0.9) },
    });
    for (const stream of [this.#worker.stdout, this.#worker.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => onOutput?.(text));
    }
    const { promise, resolve } = Promise.withResolvers<
      { initMs: number; importMs: number } | HandlerError
    >();
    this.ready = promise;
    const tooLong = setTimeout(() => this.destroy('timeout'), initMsMax);
    const settle = (value: { importMs: number } | HandlerError) => {
      clearTimeout(tooLong);
      resolve('importMs' in value ? { ...value, initMs: performance.now() - started } : value);
    };
    this.#worker.on('message', (message: EnvironmentMessage) => {
      if (message.kind === 'ready') settle({ importMs: message.importMs });
      else if (message.kind === 'init-failed') settle(message.error);
      else this.#settle(message);
    });
    const onLost = (errorType: string, detail: string) => {
      settle({ errorType, errorMessage: detail, trace: [] });
      this.#lose('ended', detail);
    };
    this.#worker.on('error', (error: NodeJS.ErrnoException) => {
      const type = error.code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'OutOfMemory' : error.name;
      onLost(`Runtime.${type}`, error.message);
    });
    this.#worker.on('exit', (code) => {
      onLost('Runtime.ExitError', `Runtime exited with error: exit status ${code}`);
    });
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** Whether it is warm. */
  get wasUsed(): boolean {
    return this.#wasUsed;
  }

  /** Runs one event; the environment must be ready and have nothing else to do. */
  invoke(message: InvocationMessage): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.#onOutcome = resolve;
    this.#wasUsed = true;
    if (this.#isLost) this.#settle({ kind: 'lost', reason: 'ended', detail: 'it was gone before' });
    else this.#worker.postMessage(message);
    return promise;
  }

  /** Kills it. The outcome of its invocation settles when the thread has ended. */
  destroy(reason: 'timeout' | 'killed'): void {
    if (this.#isLost) return;
    this.#isLost = true;
    const detail = 'signal: killed';
    void this.#worker.terminate().then(() => this.#settle({ kind: 'lost', reason, detail }));
  }

  /** Ends it, and resolves when the thread has ended. */
  async close(): Promise<void> {
    this.#lose('killed', 'signal: killed');
    await this.#worker.terminate();
  }

  #lose(reason: 'timeout' | 'killed' | 'ended', detail: string): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#settle({ kind: 'lost', reason, detail });
  }

  #settle(outcome: Outcome): void {
    const tell = this.#onOutcome;
    this.#onOutcome = undefined;
    tell?.(outcome);
  }
}
