import type { CalendarDate } from '../../../domain/timestamp.ts';
import type { DeadLetterReason, Receipt } from '../../../pipeline/ports.ts';
import type { StatsAnswer } from '../../../pipeline/stats/stats.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { StatsReaderRequest } from '../reader/stats-responder.ts';
import type { OtherOutcomes, RingMemory } from './submission-ring.ts';
import type { MetersMemory } from './writer-meters.ts';

/** `wake`: the ring has submissions. */
export type ToWriter = { readonly kind: 'wake' } | { readonly kind: 'close' };

export interface WriterSettings {
  readonly options: EmbeddedOptions;
  readonly ring: RingMemory;
  readonly meters: MetersMemory;
  /** The memory of `ArchivePositions`, if the log is archived. */
  readonly archive: SharedArrayBuffer | undefined;
}

/** The writer's state. Positions are bytes of the log. */
export interface Progress {
  readonly durableEnd: number;
  readonly countedThrough: number;
  readonly deadLetters: number;
  readonly deadLetterReasons: readonly DeadLetterReason[] | undefined;
  /** Items that are stored but not counted. */
  readonly pendingItems: number;
  /** Everything acknowledged before this is counted; undefined if nothing is pending. Ms since 1970. */
  readonly pendingSince: number | undefined;
  /** Receipt of the last batch, if known; ms since 1970. */
  readonly lastReceivedAt: number | undefined;
  /** The latest date with counts, as of the last commit. */
  readonly latestDate: CalendarDate | undefined;
}

/** The state of the data directory when the writer opened it. */
export interface Opened {
  readonly tornBytes: number;
  readonly dayZone: string;
  /** The scanner of bodies: `typescript` if the kernel is not built or not supported. */
  readonly scanner: 'webassembly' | 'typescript';
}

export type FromWriter =
  | ({ readonly kind: 'ready'; readonly progress: Progress } & Opened)
  /** The outcomes of the submissions below `through` are in the ring, or in `others`. */
  | {
      readonly kind: 'outcomes';
      readonly through: number;
      readonly others: OtherOutcomes;
      readonly progress: Progress;
    }
  | { readonly kind: 'progress'; readonly progress: Progress }
  /** A non-fatal error, such as one that failed a single submission. */
  | { readonly kind: 'unexpected'; readonly message: string }
  /** The writer accepts no more submissions; the message says why and what to do. */
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'closed' };

/** The number of counters, and of dates that have counters. */
export interface CounterSizes {
  readonly rows: number;
  readonly dates: number;
}

export type ReaderRequest =
  | ({ readonly kind: 'stats' } & StatsReaderRequest)
  | { readonly kind: 'receipt'; readonly batchId: string }
  | { readonly kind: 'sizes' };

export type ToReader =
  | (ReaderRequest & { readonly id: number })
  /** The consumer has received this many bytes: more can be sent. */
  | { readonly kind: 'consumed'; readonly id: number; readonly bytes: number }
  /** The client does not need the rest of the response. */
  | { readonly kind: 'cancel'; readonly id: number }
  | { readonly kind: 'close' };

export type FromReader =
  | { readonly kind: 'ready' }
  | (Extract<StatsAnswer, { kind: 'whole' | 'unchanged' }> & { readonly id: number })
  /**
   * A streamed response begins: `piece` messages follow, as fast as they are consumed, and then
   * `end`.
   */
  | { readonly kind: 'stream'; readonly id: number; readonly version: string | undefined }
  | { readonly kind: 'piece'; readonly id: number; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'end'; readonly id: number }
  | { readonly kind: 'receipt'; readonly id: number; readonly receipt: Receipt | undefined }
  | { readonly kind: 'sizes'; readonly id: number; readonly sizes: CounterSizes }
  /** Refused, because too many responses are in progress or the journal is too large. */
  | { readonly kind: 'busy'; readonly id: number }
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }
  /** The data directory cannot be read; the message says why and what to do. */
  | { readonly kind: 'broken'; readonly message: string };
