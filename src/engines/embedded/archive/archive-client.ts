import type { Worker } from 'node:worker_threads';

import type { ArchiveState } from '../../../pipeline/ports.ts';
import { followWorker, startWorker } from '../workers.ts';
import type { ArchiveOptions, ArchiveSettings, FromArchive, Pruned } from './archive-messages.ts';
import type { ArchivePositions } from './archive-positions.ts';

/** The state of an archive, with counts for metrics. */
export interface ArchiveStatus extends ArchiveState {
  /** Counted since this server started. */
  readonly uploads: number;
  readonly uploadedBytes: number;
  readonly failures: number;
}

/**
 * The archive counts as unreachable once a problem has lasted this long, in milliseconds; shorter
 * problems are ordinary retries.
 */
const awayAfterMs = 2_000;

/** The main thread's side of the archive's thread. */
export class ArchiveClient {
  /** Resolves with the reason if the archive cannot be continued; never rejects. */
  readonly failed: Promise<Error>;
  readonly positions: ArchivePositions;
  /** Called whenever the archive has stored more of the log. */
  onArchived: () => void = () => undefined;
  readonly #options: ArchiveOptions;
  readonly #worker: Worker;
  readonly #reportFailure: (error: Error) => void;
  readonly #closed = Promise.withResolvers<undefined>();
  #onProblem: (problem: string | undefined) => void = () => undefined;
  #onPruned: (outcome: Pruned) => void = () => undefined;
  /** The result of retention from before a listener was set. */
  #pruned: Pruned | undefined;
  #problem: string | undefined;
  /** The time of a monotonic clock, in milliseconds. */
  #problemSince = Number.POSITIVE_INFINITY;
  #uploads = 0;
  #uploadedBytes = 0;
  #failures = 0;

  /**
   * Starts the thread, and waits until it has claimed the archive or cannot reach it.
   * @throws an Error whose message says what is wrong and what to do.
   */
  static async start(
    options: ArchiveOptions,
    dataDir: string,
    positions: ArchivePositions,
  ): Promise<ArchiveClient> {
    const { memory } = positions;
    // The thread sets it once it has read the archive.
    positions.archivedAt = Date.now();
    const started = await startWorker('archive/ship/archive-thread', {
      workerData: { options, dataDir, memory } satisfies ArchiveSettings,
    });
    const first = started.first as FromArchive;
    if (first.kind === 'failed') {
      await started.worker.terminate();
      throw new Error(first.message);
    }
    const client = new ArchiveClient(options, positions, started.worker);
    client.#receive(first);
    return client;
  }

  private constructor(options: ArchiveOptions, positions: ArchivePositions, worker: Worker) {
    this.positions = positions;
    this.#options = options;
    this.#worker = worker;
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.failed = promise;
    this.#reportFailure = resolve;
    worker.on('message', (message: FromArchive) => this.#receive(message));
    followWorker(worker, 'archive', (why) => {
      resolve(new Error(why));
      this.#closed.resolve(undefined);
    });
  }

  /** Whether the archive could not be reached for some time. */
  get isAway(): boolean {
    return performance.now() - this.#problemSince >= awayAfterMs;
  }

  get status(): ArchiveStatus {
    const { isSync } = this.#options;
    const { durableEnd, archivedEnd, archivedAt } = this.positions;
    const lagBytes = Math.max(0, durableEnd - archivedEnd);
    const lagSeconds = lagBytes === 0 ? 0 : Math.max(0, Date.now() - archivedAt) / 1000;
    const counts = { uploads: this.#uploads, uploadedBytes: this.#uploadedBytes };
    return {
      isSync,
      lagBytes,
      lagSeconds,
      problem: this.#problem,
      ...counts,
      failures: this.#failures,
    };
  }

  followProblems(onProblem: (problem: string | undefined) => void): void {
    this.#onProblem = onProblem;
    if (this.#problem !== undefined) onProblem(this.#problem);
  }

  followRetention(onPruned: (outcome: Pruned) => void): void {
    this.#onPruned = onPruned;
    if (this.#pruned !== undefined) onPruned(this.#pruned);
  }

  /** Ships the durable log for at most `graceMs`, and ends the thread. */
  async close(graceMs: number): Promise<void> {
    this.#worker.postMessage(graceMs);
    // Does not wait for a request in flight.
    const timer = setTimeout(() => this.#closed.resolve(undefined), graceMs + 500);
    await this.#closed.promise;
    clearTimeout(timer);
    await this.#worker.terminate();
  }

  #setProblem(problem: string | undefined): void {
    if (problem === undefined) this.#problemSince = Number.POSITIVE_INFINITY;
    else if (this.#problem === undefined) this.#problemSince = performance.now();
    if (problem !== this.#problem) this.#onProblem(problem);
    this.#problem = problem;
  }

  #receive(message: FromArchive): void {
    switch (message.kind) {
      case 'archived':
        if (message.storedBytes > 0) this.#uploads++;
        this.#uploadedBytes += message.storedBytes;
        this.onArchived();
        return;
      case 'problem':
        if (message.problem !== undefined) this.#failures++;
        this.#setProblem(message.problem);
        return;
      case 'pruned':
        this.#pruned = message;
        this.#onPruned(message);
        return;
      case 'failed':
        this.#reportFailure(new Error(message.message));
        this.#closed.resolve(undefined);
        return;
      case 'closed':
        this.#closed.resolve(undefined);
    }
  }
}
