import type { Worker } from 'node:worker_threads';

import { formatBatchId, rawKeyOf } from '../../../domain/batch-id.ts';
import type {
  BorrowedBody,
  IngestOutcome,
  Submission,
  Unavailable,
} from '../../../pipeline/ports.ts';
import type { ArchiveClient } from '../archive/archive-client.ts';
import type { ArchivePositions } from '../archive/archive-positions.ts';
import { HeldOutcomes } from '../archive/held-outcomes.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { FromWriter, Opened, Progress, ToWriter, WriterSettings } from './messages.ts';
import { refusal } from '../unavailable-texts.ts';
import {
  lengthOf,
  ringMemory,
  RingProducer,
  type OtherOutcomes,
  type Acceptance,
} from './submission-ring.ts';
import { followWorker, startWorker } from '../workers.ts';
import { metersMemory, writerMeters, type WriterMeters } from './writer-meters.ts';

/**
 * Parsed bodies are short-lived garbage; a larger young generation would only accumulate more of
 * it. In the worst case, a list of empty objects, a parsed body takes some 25 times its size.
 */
function heapLimits(bodyBytesMax: number) {
  const bodyMiB = Math.ceil(bodyBytesMax / 1024 / 1024);
  return { maxYoungGenerationSizeMb: 24, maxOldGenerationSizeMb: 384 + 32 * bodyMiB };
}

/**
 * Submissions of one iteration of the event loop are published at its end, or once they have this many
 * bytes: the writer scans them in the time that this side takes to read as many.
 */
const publishBytes = 64 * 1024;

/** How long a client waits for the archive, in milliseconds. */
const archiveWaitMs = 10_000;

type Resolve = (outcome: IngestOutcome) => void;

/**
 * The main thread's side of the writer thread. Puts submissions into the shared ring, which bounds
 * those in flight in bytes and in number, and publishes them once per iteration of the event loop.
 */
export class WriterClient {
  /** Resolves with the reason if the writer fails; never rejects. */
  readonly failed: Promise<Error>;
  /** Updated by the writer thread. */
  readonly meters: WriterMeters;
  readonly #worker: Worker;
  readonly #ring: RingProducer;
  readonly #onUnexpectedError: (message: string) => void;
  /** Resolvers of the submissions from number `#answered` on, in order. */
  #waiting: Resolve[] = [];
  #answered = 0;
  /** Resolves to the error if closing failed. */
  readonly #closed = Promise.withResolvers<Error | undefined>();
  #failure: Error | undefined;
  readonly #reportFailure: (error: Error) => void;
  #unavailable: Unavailable['code'] | undefined;
  #unpublishedBytes = 0;
  #progress: Progress;
  /** Set if clients get a response only once the archive holds their batches. */
  #archive: ArchiveClient | undefined;
  readonly #held = new HeldOutcomes({
    archivedEnd: () => this.#archive?.positions.archivedEnd ?? 0,
    waitMs: archiveWaitMs,
    answer: ({ through, others }, isArchived) => this.#answer(through, others, isArchived),
  });

  /** @throws an Error whose message says what is wrong and what to do. */
  static async start(
    options: EmbeddedOptions,
    onUnexpectedError: (message: string) => void,
    archive?: ArchivePositions,
  ): Promise<{ writer: WriterClient; opened: Opened }> {
    const ring = ringMemory(options.inFlightBytesMax);
    const meters = metersMemory();
    const started = await startWorker('writer/writer-worker', {
      workerData: { options, ring, meters, archive: archive?.memory } satisfies WriterSettings,
      resourceLimits: heapLimits(options.bodyBytesMax),
    });
    const { worker } = started;
    const first = started.first as FromWriter;
    if (first.kind === 'failed') {
      await worker.terminate();
      throw new Error(first.message);
    }
    if (first.kind !== 'ready') throw new Error(`the writer began with ${first.kind}`);
    const writer = new WriterClient(
      worker,
      new RingProducer(ring),
      onUnexpectedError,
      first.progress,
      writerMeters(meters),
    );
    return { writer, opened: first };
  }

  private constructor(
    worker: Worker,
    ring: RingProducer,
    onUnexpectedError: (message: string) => void,
    progress: Progress,
    meters: WriterMeters,
  ) {
    this.meters = meters;
    this.#worker = worker;
    this.#ring = ring;
    this.#onUnexpectedError = onUnexpectedError;
    this.#progress = progress;
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.failed = promise;
    this.#reportFailure = resolve;
    worker.on('message', (message: FromWriter) => this.#receive(message));
    followWorker(worker, 'writer', (why) => this.#fail(why));
  }

  /** The number of submissions in flight. */
  get inFlight(): number {
    return this.#ring.used;
  }

  get progress(): Progress {
    return this.#progress;
  }

  /** The reason why submissions are refused now, if they are. */
  get unavailable(): Unavailable['code'] | undefined {
    return this.#refusal ?? (this.#ring.isFull ? 'overloaded' : undefined);
  }

  ingest(submission: Submission<BorrowedBody>): Promise<IngestOutcome> {
    const reason = this.#refusal;
    if (reason !== undefined) return Promise.resolve(refusal(reason));
    if (!this.#ring.put(submission)) return Promise.resolve(refusal('overloaded'));
    if (this.#unpublishedBytes === 0) setImmediate(this.#publish);
    this.#unpublishedBytes += 1 + lengthOf(submission.body);
    if (this.#unpublishedBytes >= publishBytes) this.#publish();
    return new Promise((resolve) => void this.#waiting.push(resolve));
  }

  get #refusal(): Unavailable['code'] | undefined {
    if (this.#unavailable !== undefined) return this.#unavailable;
    const isAway = this.#archive?.isAway === true || this.#held.isStuck;
    return isAway ? 'archive_unavailable' : undefined;
  }

  /** From now on, responds to clients only once the archive holds their batches. */
  waitForArchive(archive: ArchiveClient): void {
    this.#archive = archive;
    archive.onArchived = () => this.#held.release();
    void archive.failed.then(() => {
      this.#unavailable ??= 'archive_unavailable';
      this.#held.abandon();
    });
  }

  /** Refuses further submissions; resolves when all earlier ones are answered. */
  async finish(): Promise<void> {
    this.#unavailable ??= 'stopping';
    while (this.#waiting.length > 0) await new Promise((done) => setTimeout(done, 5));
  }

  /**
   * Counts as much as time allows, releases the data directory and ends the thread.
   * @throws the reason if that failed, or if the writer had failed before.
   */
  async close(): Promise<void> {
    await this.finish();
    this.#post({ kind: 'close' });
    const failure = await this.#closed.promise;
    await this.#worker.terminate();
    if (failure !== undefined) throw failure;
  }

  readonly #publish = (): void => {
    if (this.#unpublishedBytes === 0) return;
    this.#unpublishedBytes = 0;
    if (this.#ring.publish()) this.#post({ kind: 'wake' });
  };

  #receive(message: FromWriter): void {
    switch (message.kind) {
      case 'outcomes':
        this.#progress = message.progress;
        if (this.#archive === undefined) this.#answer(message.through, message.others, true);
        else this.#held.add(message.through, message.others, message.progress.durableEnd);
        return;
      case 'progress':
        this.#progress = message.progress;
        return;
      case 'unexpected':
        this.#onUnexpectedError(message.message);
        return;
      case 'failed':
        this.#fail(message.message);
        return;
      case 'closed':
        this.#closed.resolve(undefined);
        return;
      case 'ready':
    }
  }

  #answer(through: number, others: OtherOutcomes, isArchived: boolean): void {
    // A failed writer may still report outcomes of submissions that `#fail` has answered.
    if (through <= this.#answered) return;
    const resolves = this.#waiting.splice(0, through - this.#answered);
    const byNumber = new Map(others);
    resolves.forEach((resolve, index) => {
      const number = this.#answered + index;
      const acceptance = this.#ring.acceptance(number);
      const outcome = acceptance ? accepted(acceptance) : byNumber.get(number);
      const isUnsure = outcome?.accepted === true && !isArchived;
      resolve(isUnsure ? refusal('archive_unavailable') : (outcome ?? refusal('storage_failed')));
    });
    this.#answered = through;
    this.#ring.release(through);
  }

  #fail(message: string): void {
    this.#failure ??= new Error(message);
    this.#closed.resolve(this.#failure);
    this.#unavailable = 'storage_failed';
    this.#reportFailure(this.#failure);
    // The writer answers its remaining submissions, unless its thread has ended.
    setTimeout(() => {
      this.#answered += this.#waiting.length;
      for (const resolve of this.#waiting.splice(0)) resolve(refusal('storage_failed'));
    }, 1000).unref();
  }

  #post(message: ToWriter): void {
    this.#worker.postMessage(message);
  }
}

function accepted({ batchId: bytes, receivedAt, enqueued }: Acceptance): IngestOutcome {
  const batchId = formatBatchId(bytes);
  const rawKey = rawKeyOf(batchId, receivedAt);
  return { accepted: true, batchId, rawKey, enqueued, rejected: 0, errors: [] };
}
