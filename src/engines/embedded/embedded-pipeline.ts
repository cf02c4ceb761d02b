import {
  Unavailable,
  type BorrowedBody,
  type Ingest,
  type IngestOutcome,
  type PipelineStatus,
  type Queries,
  type Receipt,
  type Submission,
} from '../../pipeline/ports.ts';
import {
  isSummed,
  type KnownVersions,
  type StatsAnswer,
  type StatsRequest,
} from '../../pipeline/stats/stats.ts';
import { ArchiveClient, type ArchiveStatus } from './archive/archive-client.ts';
import type { Pruned } from './archive/archive-messages.ts';
import { ArchivePositions } from './archive/archive-positions.ts';
import { dataPaths } from './data-directory.ts';
import { describeFailure } from './failure-text.ts';
import type { EmbeddedOptions } from './options.ts';
import type { CounterSizes, Opened } from './writer/messages.ts';
import { ReaderClient } from './reader/reader-client.ts';
import { ringSlots } from './writer/submission-ring.ts';
import { WriterClient } from './writer/writer-client.ts';
import type { WriterMeters } from './writer/writer-meters.ts';

export interface EmbeddedMeasures extends WriterMeters {
  /** Submissions between the main thread and the writer, and their maximum. */
  readonly inFlight: number;
  readonly inFlightMax: number;
  /** All bytes ever stored in the log, including removed segments. */
  readonly storedEnd: number;
  /** Undefined if the log is not archived. */
  readonly archive: ArchiveStatus | undefined;
}

/**
 * The pipeline in one process and one data directory. It runs a writer thread (`writer/`), which
 * stores batches in the log (`log/`) and counts them into SQLite (`store/`), and reader threads
 * (`reader/`), one for queries and receipts and one for sums, each started by its first request.
 * Commands use the same files while it runs: `verify/` for audit, rebuild and backup, `tokens/` for
 * access tokens.
 */
export class EmbeddedPipeline implements Ingest<BorrowedBody>, Queries {
  /** Resolves if the pipeline fails, with the reason and what to do. */
  readonly failed: Promise<Error>;
  /** Bytes of a torn tail of the log that the start cut off; none were acknowledged. */
  readonly tornBytes: number;
  readonly scanner: Opened['scanner'];
  /** The day rule of the store. */
  readonly dayZone: string;
  readonly #writer: WriterClient;
  readonly #reader: LazyReader;
  /** The reader for queries that sum, which take long. */
  readonly #summing: LazyReader;
  readonly #archive: ArchiveClient | undefined;
  readonly #options: EmbeddedOptions;

  /**
   * @param onUnexpectedError called with non-fatal errors.
   * @throws an Error whose message says what is wrong and what to do.
   */
  static async open(
    options: EmbeddedOptions,
    onUnexpectedError: (message: string) => void,
  ): Promise<EmbeddedPipeline> {
    const positions = options.archive && new ArchivePositions();
    const { writer, opened } = await WriterClient.start(options, onUnexpectedError, positions);
    let archive: ArchiveClient | undefined;
    try {
      if (options.archive !== undefined && positions !== undefined) {
        archive = await ArchiveClient.start(options.archive, options.dataDir, positions);
      }
      return new EmbeddedPipeline({ writer, archive }, opened, options, onUnexpectedError);
    } catch (error) {
      await writer.close();
      await archive?.close(0);
      throw error;
    }
  }

  private constructor(
    { writer, archive }: Threads,
    { tornBytes, dayZone, scanner }: Opened,
    options: EmbeddedOptions,
    onUnexpectedError: (message: string) => void,
  ) {
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.failed = Promise.race([writer.failed, promise]);
    this.#archive = archive;
    void archive?.failed.then(resolve);
    if (options.archive?.isSync === true && archive !== undefined) writer.waitForArchive(archive);
    this.tornBytes = tornBytes;
    this.scanner = scanner;
    this.dayZone = dayZone;
    this.#writer = writer;
    this.#reader = new LazyReader(options, resolve, onUnexpectedError);
    this.#summing = new LazyReader(options, resolve, onUnexpectedError);
    this.#options = options;
  }

  ingest(submission: Submission<BorrowedBody>): Promise<IngestOutcome> {
    return this.#writer.ingest(submission);
  }

  async stats(
    request: StatsRequest,
    known: KnownVersions,
    signal?: AbortSignal,
  ): Promise<StatsAnswer> {
    const reader = isSummed(request) ? this.#summing : this.#reader;
    return await (await reader.started()).stats(request, known, signal);
  }

  async receipt(batchId: string): Promise<Receipt | undefined> {
    return await (await this.#reader.started()).receipt(batchId);
  }

  // oxlint-disable-next-line typescript/require-await -- the port is asynchronous
  async status(): Promise<PipelineStatus> {
    const { durableEnd, countedThrough, deadLetters, pendingItems, pendingSince } =
      this.#writer.progress;
    const { lastReceivedAt, latestDate, deadLetterReasons } = this.#writer.progress;
    const pendingBytes = durableEnd - countedThrough;
    const archive = this.#archive?.status;
    const unavailable = this.#whyUnavailable(pendingBytes, archive?.problem);
    return {
      unavailable,
      pending: { unit: 'items', amount: pendingItems, bytes: pendingBytes },
      deadLetters,
      deadLetterReasons,
      archive,
      // The progress that came with an outcome includes that submission.
      countedThrough: pendingSince ?? Date.now(),
      lastReceivedAt,
      latestDate,
    };
  }

  #whyUnavailable(pendingBytes: number, problem: string | undefined) {
    const code =
      this.#writer.unavailable ??
      (pendingBytes > this.#options.backlogBytesMax ? 'overloaded' : undefined);
    if (code === undefined) return undefined;
    const isAway = code === 'archive_unavailable' && problem !== undefined;
    return { code, detail: isAway ? `The archive cannot be reached: ${problem}` : details[code] };
  }

  /**
   * Calls `onProblem` with the reason when the archive cannot be reached any more, and with
   * undefined when it can again; and `onPruned` with the objects that retention has removed from
   * it.
   */
  followArchive(
    onProblem: (problem: string | undefined) => void,
    onPruned: (outcome: Pruned) => void,
  ): void {
    this.#archive?.followProblems(onProblem);
    this.#archive?.followRetention(onPruned);
  }

  /** @throws {Unavailable} */
  async counterSizes(): Promise<CounterSizes> {
    return await (await this.#summing.started()).sizes();
  }

  /** Measurements beside `status`, without waiting for another thread. */
  get measures(): EmbeddedMeasures {
    const { meters, inFlight, progress } = this.#writer;
    const archive = this.#archive?.status;
    return { ...meters, inFlight, inFlightMax: ringSlots, storedEnd: progress.durableEnd, archive };
  }

  /**
   * Answers all submissions and requests to the readers, counts as much as time allows, and
   * releases the data directory.
   */
  async close(): Promise<void> {
    await this.#writer.finish();
    // Close the writer last: the last connection checkpoints the database, which a reader cannot.
    await Promise.all([this.#reader.close(), this.#summing.close()]);
    await this.#archive?.close(archiveGraceMs);
    await this.#writer.close();
  }
}

/** A reader thread that the first request starts: a server that only ingests needs none. */
class LazyReader {
  readonly #options: EmbeddedOptions;
  readonly #onFailure: (error: Error) => void;
  readonly #onProblem: (message: string) => void;
  #reader: Promise<ReaderClient> | undefined;
  #isClosing = false;

  /**
   * @param onFailure called if the thread fails after its start
   * @param onProblem called each time that it cannot be started, with the reason and what to do
   */
  constructor(
    options: EmbeddedOptions,
    onFailure: (error: Error) => void,
    onProblem: (message: string) => void,
  ) {
    this.#options = options;
    this.#onFailure = onFailure;
    this.#onProblem = onProblem;
  }

  /** @throws {Unavailable} if it cannot be started; the next call tries again. */
  async started(): Promise<ReaderClient> {
    if (this.#isClosing) throw new Unavailable('stopping', details.stopping);
    const starting = (this.#reader ??= this.#start());
    try {
      return await starting;
    } catch (error) {
      if (this.#reader === starting) {
        this.#reader = undefined;
        const reason = describeFailure(error, dataPaths(this.#options.dataDir));
        this.#onProblem(`The counters cannot be read: ${reason}`);
      }
      throw new Unavailable('storage_failed', 'The counters cannot be read now.', { cause: error });
    }
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    const reader = await this.#reader?.catch(() => undefined);
    await reader?.close();
  }

  async #start(): Promise<ReaderClient> {
    const reader = await ReaderClient.start(this.#options);
    void reader.failed.then(this.#onFailure);
    return reader;
  }
}

/** How long a stop waits until the archive holds the whole log, in milliseconds. */
const archiveGraceMs = 5_000;

interface Threads {
  readonly writer: WriterClient;
  readonly archive: ArchiveClient | undefined;
}

const details: Record<Unavailable['code'], string> = {
  overloaded: 'Too many batches wait to be stored or counted.',
  stopping: 'The server is stopping.',
  storage_failed: 'The storage has failed; the server is stopping.',
  archive_unavailable: 'The archive cannot be reached.',
};
