import { Worker } from 'node:worker_threads';

import type { IngestOutcome, Submission, Unavailable } from '../../pipeline/ports.ts';
import type { EmbeddedOptions } from './engine-options.ts';
import {
  packSubmission,
  unpackOutcome,
  type FromWriter,
  type Parcel,
  type Progress,
  type ToWriter,
} from './messages.ts';
import { workerUrl } from './worker-url.ts';

/** While the writer syncs one parcel it has the next at hand; what else comes gathers here. */
const parcelsOutMax = 2;
const parcelBytesMax = 8 * 1024 * 1024;
const parcelSubmissionsMax = 1024;
const submissionsInFlightMax = 16_384;

/**
 * A parsed body is garbage soon; with more room, more of it piles up before it is collected. One
 * body takes up to some 25 times its size, as a list of empty objects.
 */
function heapLimits(bodyBytesMax: number) {
  const bodyMiB = Math.ceil(bodyBytesMax / 1024 / 1024);
  return { maxYoungGenerationSizeMb: 24, maxOldGenerationSizeMb: 384 + 32 * bodyMiB };
}

interface Waiting {
  readonly submission: Submission;
  readonly resolve: (outcome: IngestOutcome) => void;
}

/**
 * The writer's thread, seen from the main thread. Submissions gather and are handed over in
 * parcels; all that is on its way is bounded, in bytes and in number.
 */
export class WriterClient {
  /** Resolves, with why, if the writer fails; never rejects. */
  readonly failed: Promise<Error>;
  readonly #worker: Worker;
  readonly #inFlightBytesMax: number;
  readonly #onDefect: (message: string) => void;
  readonly #queue: Waiting[] = [];
  readonly #out = new Map<number, readonly Waiting[]>();
  readonly #closed = Promise.withResolvers<undefined>();
  readonly #reportFailure: (error: Error) => void;
  #unavailable: Unavailable['code'] | undefined;
  #inFlight = { bytes: 0, submissions: 0 };
  #nextParcel = 0;
  #isDispatchDue = false;
  #progress: Progress;

  /** @throws an Error whose message says what is wrong and what to do. */
  static async start(
    options: EmbeddedOptions,
    onDefect: (message: string) => void,
  ): Promise<{ writer: WriterClient; tornBytes: number }> {
    const worker = new Worker(workerUrl('writer-worker'), {
      workerData: options,
      resourceLimits: heapLimits(options.bodyBytesMax),
    });
    const first = await new Promise<FromWriter>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    if (first.kind === 'failed') {
      await worker.terminate();
      throw new Error(first.message);
    }
    if (first.kind !== 'ready') throw new Error(`the writer began with ${first.kind}`);
    const writer = new WriterClient(worker, options, onDefect, first.progress);
    return { writer, tornBytes: first.tornBytes };
  }

  private constructor(
    worker: Worker,
    options: EmbeddedOptions,
    onDefect: (message: string) => void,
    progress: Progress,
  ) {
    this.#worker = worker;
    this.#inFlightBytesMax = options.inFlightBytesMax;
    this.#onDefect = onDefect;
    this.#progress = progress;
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.failed = promise;
    this.#reportFailure = resolve;
    worker.removeAllListeners('error');
    worker.on('message', (message: FromWriter) => this.#receive(message));
    worker.on('error', (error) =>
      this.#fail(error instanceof Error ? error.message : String(error)),
    );
    worker.on('exit', () => this.#fail('the writer thread ended'));
  }

  get progress(): Progress {
    return this.#progress;
  }

  /** Why nothing is taken now, if it is not. */
  get unavailable(): Unavailable['code'] | undefined {
    if (this.#unavailable !== undefined) return this.#unavailable;
    return this.#isFull(0) ? 'overloaded' : undefined;
  }

  ingest(submission: Submission): Promise<IngestOutcome> {
    const { length } = submission.body;
    if (this.#unavailable !== undefined) return Promise.resolve(refusal(this.#unavailable));
    if (this.#isFull(length)) return Promise.resolve(refusal('overloaded'));
    this.#inFlight.bytes += length;
    this.#inFlight.submissions++;
    const { promise, resolve } = Promise.withResolvers<IngestOutcome>();
    this.#queue.push({ submission, resolve });
    this.#scheduleDispatch();
    return promise;
  }

  /** Takes nothing more; resolves when all that was taken is answered. */
  async finish(): Promise<void> {
    this.#unavailable ??= 'stopping';
    while (this.#inFlight.submissions > 0) await new Promise((done) => setTimeout(done, 5));
  }

  /** Counts what it can, lets the data directory go, and ends the thread. */
  async close(): Promise<void> {
    await this.finish();
    this.#post({ kind: 'close' });
    await this.#closed.promise;
    await this.#worker.terminate();
  }

  #isFull(bytes: number): boolean {
    return (
      this.#inFlight.bytes + bytes > this.#inFlightBytesMax ||
      this.#inFlight.submissions >= submissionsInFlightMax
    );
  }

  #scheduleDispatch(): void {
    if (this.#isDispatchDue || this.#out.size >= parcelsOutMax) return;
    this.#isDispatchDue = true;
    // After the requests that came in the same turn of the event loop.
    setImmediate(() => {
      this.#isDispatchDue = false;
      this.#dispatch();
    });
  }

  #dispatch(): void {
    while (this.#isParcelDue()) {
      const waiting = this.#takeQueued();
      const parcel = pack(this.#nextParcel++, waiting);
      this.#out.set(parcel.id, waiting);
      this.#post(parcel, [parcel.bodies]);
    }
  }

  /**
   * One parcel goes at once; a second one once it is as large as what is out. So two parcels of
   * like size take turns, and none costs a sync for a few.
   */
  #isParcelDue(): boolean {
    if (this.#queue.length === 0 || this.#out.size >= parcelsOutMax) return false;
    return this.#out.size === 0 || this.#queue.length * 2 >= this.#inFlight.submissions;
  }

  #takeQueued(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { submission } of this.#queue) {
      bytes += submission.body.length;
      if (count > 0 && (bytes > parcelBytesMax || count >= parcelSubmissionsMax)) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  #receive(message: FromWriter): void {
    switch (message.kind) {
      case 'outcomes':
        this.#progress = message.progress;
        this.#answer(message.id, message.outcomes.map(unpackOutcome));
        this.#scheduleDispatch();
        return;
      case 'progress':
        this.#progress = message.progress;
        return;
      case 'defect':
        this.#onDefect(message.message);
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

  #answer(id: number, outcomes: readonly IngestOutcome[]): void {
    const waiting = this.#out.get(id) ?? [];
    this.#out.delete(id);
    waiting.forEach((each, index) =>
      this.#settle(each, outcomes[index] ?? refusal('storage_failed')),
    );
  }

  #settle({ submission, resolve }: Waiting, outcome: IngestOutcome): void {
    this.#inFlight.bytes -= submission.body.length;
    this.#inFlight.submissions--;
    resolve(outcome);
  }

  #fail(message: string): void {
    this.#closed.resolve(undefined);
    this.#unavailable = 'storage_failed';
    this.#reportFailure(new Error(message));
    for (const waiting of this.#queue.splice(0)) this.#settle(waiting, refusal('storage_failed'));
    // What the writer has answers itself, unless its thread is gone.
    setTimeout(() => {
      for (const id of [...this.#out.keys()]) this.#answer(id, []);
    }, 1000).unref();
  }

  #post(message: ToWriter, transfer: ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }
}

function pack(id: number, waiting: readonly Waiting[]): Parcel {
  const bytes = waiting.reduce((sum, { submission }) => sum + submission.body.length, 0);
  const bodies = new ArrayBuffer(bytes);
  const target = new Uint8Array(bodies);
  let offset = 0;
  const submissions = waiting.map(({ submission }) => {
    target.set(submission.body, offset);
    offset += submission.body.length;
    return packSubmission(submission);
  });
  return { kind: 'parcel', id, bodies, submissions };
}

const details: Record<Unavailable['code'], string> = {
  overloaded: 'Too many batches are on their way to storage. Send this one again after a moment.',
  stopping: 'The server is stopping and takes nothing more. Send the batch again later.',
  storage_failed:
    'The batch could not be stored and was not acknowledged. Send it again, with the same Idempotency-Key if it had one.',
};

export function refusal(code: Unavailable['code']): IngestOutcome {
  const retryAfterSeconds = code === 'overloaded' ? 1 : 5;
  return { accepted: false, problem: { code, detail: details[code], retryAfterSeconds } };
}
