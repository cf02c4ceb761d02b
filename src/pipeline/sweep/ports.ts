import type { BatchId } from '../../domain/batch-id.ts';
import type { DayOf } from '../../domain/day.ts';
import type { ChunkQueue, DeadLetterSink } from '../ports.ts';
import type { CutBatch } from '../chunks/recut.ts';

/** A batch that a later sweep checks again. */
export interface Orphan {
  readonly rawKey: string;
  /** How many sweeps sent its chunks again, or tried to. */
  readonly attempts: number;
}

/** A batch that is stored and queued as a whole. */
export interface FinishedIntake {
  readonly chunks: number;
  /** For a replayed batch: when it arrived here; milliseconds since 1970. */
  readonly replayedAt?: number;
  /** When a sweep completed the interrupted intake of the batch, if one did; milliseconds since 1970. */
  readonly queuedAt?: number;
}

/** How far a batch has come. */
export interface BatchState {
  /** Undefined if its intake was interrupted. */
  readonly intake: FinishedIntake | undefined;
  /** The indexes of its chunks that are counted or dropped, so that nothing is left to do. */
  readonly counted: ReadonlySet<number>;
}

export interface SweepPorts {
  /** Raw keys after `after` and before `before`, in order, a page at a time. */
  keys(range: { readonly after: string; readonly before: string }): AsyncIterable<string[]>;
  raw(rawKey: string): Promise<CutBatch | undefined>;
  /** The batches whose intake is complete; may miss those of the last seconds. */
  intakes(batchIds: readonly BatchId[]): Promise<ReadonlyMap<BatchId, FinishedIntake>>;
  /** The batches that are counted as a whole; may miss those of the last seconds. */
  counted(batches: ReadonlyMap<BatchId, FinishedIntake>): Promise<ReadonlySet<BatchId>>;
  /** The current state of a batch; misses nothing. */
  state(batchId: BatchId): Promise<BatchState>;
  /** The approximate number of messages that wait or are in flight. */
  queueDepth(): Promise<number>;
  readonly queue: ChunkQueue;
  readonly deadLetters: DeadLetterSink;
  /** Writes what the intake writes last, and when the sweep queued the messages. */
  complete(raw: CutBatch, chunks: number, queuedAt: number): Promise<void>;
  readonly progress: SweepProgress;
  /** Starts the work, which cuts the body into chunks and sends them, once there is memory for it. */
  whileCutting<T>(raw: CutBatch, work: () => Promise<T>): Promise<T>;
  /** Works on several inputs concurrently; starts them in order. */
  each<T>(inputs: readonly T[], work: (input: T) => Promise<void>): Promise<void>;
}

/** The progress that a sweep saves for the next one. */
export interface SweepProgress {
  /** How far earlier sweeps came; the raw keys are empty before the first sweep. */
  position(): Promise<SweepPosition>;
  moveTo(intakesThrough: string): Promise<void>;
  /**
   * `receivedBefore`: every batch received before it (milliseconds since 1970) is counted, or is an
   * orphan.
   */
  countedTo(countedThrough: string, receivedBefore: number): Promise<void>;
  /** Orphans due by `dueAt` (milliseconds since 1970), the oldest first, a page at a time. */
  orphans(dueAt: number): AsyncIterable<readonly Orphan[]>;
  /** `nextAt`: when to check it again; milliseconds since 1970. */
  saveOrphan(orphan: Orphan, nextAt: number): Promise<void>;
  removeOrphan(rawKey: string): Promise<void>;
}

export interface SweepPosition {
  /** The intake of every batch up to this raw key is complete, or the batch is an orphan. */
  readonly intakesThrough: string;
  /** Every batch up to this raw key is counted, or is an orphan. */
  readonly countedThrough: string;
}

export interface SweepRules {
  readonly dayOf: DayOf;
  readonly now: () => number;
  /** The age at which a batch is first checked: by then its intake has ended. Milliseconds. */
  readonly afterMs: number;
  /**
   * Chunks of an older batch are not queued again: they may be counted, and their dedup records
   * expired. Milliseconds.
   */
  readonly ageMsMax: number;
  /** The ledger's rows of older batches may have expired. Milliseconds. */
  readonly keepMs: number;
  /** The sweep starts no work after it; milliseconds since 1970. */
  readonly deadline: number;
  /** How many queued messages one sweep may queue again if the queue is empty; default 100,000. */
  readonly resendsMax?: number;
  /** The sweep never treats this many messages on the queue as a backlog; default 1,000. */
  readonly shallowDepth?: number;
  /** While more messages wait, batches with an interrupted intake wait, too; default 500,000. */
  readonly queuedMax?: number;
  /** Called for a batch that the sweep could not reconcile; a later sweep tries again. */
  readonly onFailure: (error: unknown, rawKey: string) => void;
  /** Called for a batch so old that the ledger no longer shows whether it is counted. */
  readonly onForgotten: (rawKey: string) => void;
}

export interface SweepResult {
  /** Batches whose intake was checked. */
  readonly batches: number;
  /** Batches whose intake was interrupted. */
  readonly orphans: number;
  /** Messages sent again, including those of orphans. */
  readonly resent: number;
  /** Messages and batches that were dead-lettered. */
  readonly parked: number;
  /** Batches that could not be reconciled. */
  readonly failed: number;
  /** Batches so old that the ledger no longer shows whether they are counted. */
  readonly forgotten: number;
  /** How late the check of intakes is, in milliseconds. */
  readonly behindMs: number;
  /**
   * The age of the oldest batch that waits to be counted, in milliseconds; 0 if none waits, or if this
   * sweep completed it.
   */
  readonly waitingMs: number;
}
