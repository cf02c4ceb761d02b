import type {
  CounterQuery,
  IngestOutcome,
  Pipeline,
  PipelineStatus,
  Receipt,
  Submission,
  TakeRows,
  Unavailable,
} from '../../pipeline/ports.ts';
import {
  isSummed,
  type KnownVersions,
  type StatsAnswer,
  type StatsRequest,
} from '../../pipeline/stats.ts';
import type { EmbeddedOptions } from './engine-options.ts';
import type { CounterSizes } from './messages.ts';
import { ReaderClient } from './reader-client.ts';
import { ringSlots } from './submission-ring.ts';
import { WriterClient } from './writer-client.ts';
import type { WriterMeters } from './writer-meters.ts';

export interface EmbeddedMeasures extends WriterMeters {
  /** Submissions between the main thread and the writer, and how many may be. */
  readonly underway: number;
  readonly underwayMax: number;
  /** Bytes that the log has ever held, as it stands on the disk. */
  readonly storedEnd: number;
}

/** The pipeline in one process and one data directory: a writer thread and two reader threads. */
export class EmbeddedPipeline implements Pipeline {
  /** Resolves, with why and what to do, if the pipeline can take nothing more. */
  readonly failed: Promise<Error>;
  /** Bytes of a torn tail that were cut off the log at the start: none of them acknowledged. */
  readonly tornBytes: number;
  readonly #writer: WriterClient;
  readonly #reader: ReaderClient;
  /** For what takes long before anything can be told. */
  readonly #summing: ReaderClient;
  readonly #backlogBytesMax: number;

  /**
   * @param onDefect is told of errors of ours that a submission met and survived.
   * @throws an Error whose message says what is wrong and what to do.
   */
  static async open(
    options: EmbeddedOptions,
    onDefect: (message: string) => void,
  ): Promise<EmbeddedPipeline> {
    const { writer, tornBytes } = await WriterClient.start(options, onDefect);
    const readers = await Promise.allSettled([
      ReaderClient.start(options),
      ReaderClient.start(options),
    ]);
    const [reader, summing] = readers;
    if (reader.status === 'fulfilled' && summing.status === 'fulfilled') {
      return new EmbeddedPipeline(writer, reader.value, summing.value, tornBytes, options);
    }
    for (const each of readers) if (each.status === 'fulfilled') await each.value.close();
    await writer.close();
    throw readers.find((each) => each.status === 'rejected')?.reason;
  }

  private constructor(
    writer: WriterClient,
    reader: ReaderClient,
    summing: ReaderClient,
    tornBytes: number,
    options: EmbeddedOptions,
  ) {
    this.failed = Promise.race([writer.failed, reader.failed, summing.failed]);
    this.tornBytes = tornBytes;
    this.#writer = writer;
    this.#reader = reader;
    this.#summing = summing;
    this.#backlogBytesMax = options.backlogBytesMax;
  }

  ingest(submission: Submission): Promise<IngestOutcome> {
    return this.#writer.ingest(submission);
  }

  query(query: CounterQuery, take: TakeRows, signal?: AbortSignal): Promise<boolean> {
    return this.#reader.rows(query, take, signal);
  }

  stats(request: StatsRequest, known: KnownVersions, signal?: AbortSignal): Promise<StatsAnswer> {
    return (isSummed(request) ? this.#summing : this.#reader).stats(request, known, signal);
  }

  receipt(batchId: string): Promise<Receipt | undefined> {
    return this.#reader.receipt(batchId);
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- the port is asynchronous
  async status(): Promise<PipelineStatus> {
    const { durableEnd, countedThrough, deadLetters, pendingItems, pendingSince, lastReceivedAt } =
      this.#writer.progress;
    const pendingBytes = durableEnd - countedThrough;
    const code =
      this.#writer.unavailable ?? (pendingBytes > this.#backlogBytesMax ? 'overloaded' : undefined);
    const unavailable = code && { code, detail: details[code] };
    return {
      unavailable,
      pending: { unit: 'items', amount: pendingItems, bytes: pendingBytes },
      deadLetters,
      // What this side has acknowledged stands in the progress that came with its verdict.
      countedThrough: pendingSince ?? Date.now(),
      lastReceivedAt,
    };
  }

  /** @throws {Unavailable} */
  async counterSizes(): Promise<CounterSizes> {
    return await this.#summing.sizes();
  }

  /** What is measured beside `status`; nothing of it waits for another thread. */
  get measures(): EmbeddedMeasures {
    const { meters, underway, progress } = this.#writer;
    return { ...meters, underway, underwayMax: ringSlots, storedEnd: progress.durableEnd };
  }

  /** Answers what was taken in, counts what it can, and lets the data directory go. */
  async close(): Promise<void> {
    await this.#writer.finish();
    // The writer last: the database is put in order by the last connection, if that one may write.
    await Promise.all([this.#reader.close(), this.#summing.close()]);
    await this.#writer.close();
  }
}

const details: Record<Unavailable['code'], string> = {
  overloaded: 'More waits to be stored or counted than may wait.',
  stopping: 'The server is stopping.',
  storage_failed: 'The storage has failed; the server is about to end.',
};
