import type { BatchId } from '../domain/batch-id.ts';
import type { DayOf } from '../domain/day.ts';
import type { ChunkQueue, DeadLetterSink } from './ports.ts';
import type { CutBatch } from './chunks/recut.ts';

/** A batch that is looked at again at a later time. */
export interface Orphan {
  readonly rawKey: string;
  /** How often its chunks were sent again, or that was tried. */
  readonly attempts: number;
}

/** A batch all of which was stored and queued. */
export interface FinishedIntake {
  readonly chunks: number;
  /** When it came here from another installation, if it did; milliseconds since 1970. */
  readonly replayedAt?: number;
  /** When a sweep queued what the intake had not, if one did; milliseconds since 1970. */
  readonly queuedAt?: number;
}

/** How far a batch has come. */
export interface BatchState {
  /** Undefined where its intake was cut off. */
  readonly intake: FinishedIntake | undefined;
  /** The indexes of those that are counted, or dropped: nothing is left to do for them. */
  readonly counted: ReadonlySet<number>;
}

export interface SweepPorts {
  /** Raw keys behind `after` and before `before`, in order, a page at a time. */
  keys(range: { readonly after: string; readonly before: string }): AsyncIterable<string[]>;
  raw(rawKey: string): Promise<CutBatch | undefined>;
  /** The batches whose intake has finished; those of the last seconds may be missing. */
  intakes(batchIds: readonly BatchId[]): Promise<ReadonlyMap<BatchId, FinishedIntake>>;
  /** Those of the batches that are wholly counted; those of the last seconds may be missing. */
  counted(batches: ReadonlyMap<BatchId, FinishedIntake>): Promise<ReadonlySet<BatchId>>;
  /** What is true of a batch now. */
  state(batchId: BatchId): Promise<BatchState>;
  /** About how many messages wait to be counted or are being counted. */
  queueDepth(): Promise<number>;
  readonly queue: ChunkQueue;
  readonly parking: DeadLetterSink;
  /** Writes what the intake would have written at its end, and when its messages were queued. */
  complete(raw: CutBatch, chunks: number, queuedAt: number): Promise<void>;
  readonly progress: SweepProgress;
  /** Works on some at the same time, beginning in their order. */
  each<T>(inputs: readonly T[], work: (input: T) => Promise<void>): Promise<void>;
}

/** What a sweep leaves behind for the next one. */
export interface SweepProgress {
  /** How far earlier sweeps came; the raw keys are empty at first. */
  position(): Promise<SweepPosition>;
  moveTo(intakesThrough: string): Promise<void>;
  /**
   * `receivedBefore`: all batches that came before (milliseconds since 1970) are counted, or among
   * the orphans.
   */
  countedTo(countedThrough: string, receivedBefore: number): Promise<void>;
  /** Those whose time has come (milliseconds since 1970), the oldest first, a page at a time. */
  orphans(dueAt: number): AsyncIterable<readonly Orphan[]>;
  keep(orphan: Orphan, nextAt: number): Promise<void>;
  drop(rawKey: string): Promise<void>;
}

export interface SweepPosition {
  /** The raw key through which every batch's intake has finished, or is among the orphans. */
  readonly intakesThrough: string;
  /** The raw key through which every batch is counted, or among the orphans. */
  readonly countedThrough: string;
}

export interface SweepRules {
  readonly dayOf: DayOf;
  readonly now: () => number;
  /** A batch is looked at so long after it came: by then its intake has ended. */
  readonly afterMs: number;
  /** Chunks of an older batch are not queued again: they might be counted and their marks be gone. */
  readonly ageMsMax: number;
  /** What is known of older batches may be gone. */
  readonly keepMs: number;
  /** Nothing is begun after it; milliseconds since 1970. */
  readonly deadline: number;
  /**
   * How many messages that were queued before are queued again in one sweep at most, where the
   * queue is empty; 100,000 where it is left out.
   */
  readonly resendsMax?: number;
  /** So many messages on the queue make no backlog, however few come; 1,000 where it is left out. */
  readonly shallowDepth?: number;
  /** While more messages wait, cut-off batches wait, too; 500,000 where it is left out. */
  readonly queuedMax?: number;
  /** Is told of a batch that could not be looked after; it is tried again. */
  readonly onFailure: (error: unknown, rawKey: string) => void;
  /** Is told of a batch so old that nothing tells whether it is counted. */
  readonly onForgotten: (rawKey: string) => void;
}

export interface SweepResult {
  /** Batches whose intake was looked at. */
  readonly batches: number;
  /** Batches whose intake was found cut off. */
  readonly orphans: number;
  /** Messages sent again, those of orphans among them. */
  readonly resent: number;
  /** Messages and batches put among the dead letters. */
  readonly parked: number;
  /** Batches that could not be looked after. */
  readonly failed: number;
  /** Batches so old that nothing tells whether they are counted. */
  readonly forgotten: number;
  /** By how much the look at intakes is behind its time, in milliseconds. */
  readonly behindMs: number;
  /** How long the first batch that waits to be counted has waited, in milliseconds; 0: none does. */
  readonly waitingMs: number;
}
