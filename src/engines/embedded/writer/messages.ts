import type { CounterRow } from '../../../domain/counter.ts';
import type { CalendarDate } from '../../../domain/timestamp.ts';
import type { CounterQuery, Receipt } from '../../../pipeline/ports.ts';
import type { KnownVersions, StatsAnswer, StatsRequest } from '../../../pipeline/stats.ts';
import type { EmbeddedOptions } from '../options.ts';
import type { OtherOutcomes, RingMemory } from './submission-ring.ts';
import type { MetersMemory } from './writer-meters.ts';

/** `wake`: there is something in the ring. */
export type ToWriter = { readonly kind: 'wake' } | { readonly kind: 'close' };

export interface WriterSettings {
  readonly options: EmbeddedOptions;
  readonly ring: RingMemory;
  readonly meters: MetersMemory;
}

/** How far the writer has come. Positions in the log, in bytes. */
export interface Progress {
  readonly durableEnd: number;
  readonly countedThrough: number;
  readonly deadLetters: number;
  /** Items that are stored and not counted. */
  readonly pendingItems: number;
  /** Whatever was acknowledged before is counted; undefined where nothing waits. Ms since 1970. */
  readonly pendingSince: number | undefined;
  /** When the last batch came, if that is known; ms since 1970. */
  readonly lastReceivedAt: number | undefined;
  /** The latest date that has counts, as it was when something was counted last. */
  readonly latestDate: CalendarDate | undefined;
}

/** What the writer has found in the data directory. */
export interface Opened {
  readonly tornBytes: number;
  readonly dayZone: string;
}

export type FromWriter =
  | ({ readonly kind: 'ready'; readonly progress: Progress } & Opened)
  /** The verdicts on the submissions below `through` stand in the ring, or among the others. */
  | {
      readonly kind: 'verdicts';
      readonly through: number;
      readonly others: OtherOutcomes;
      readonly progress: Progress;
    }
  | { readonly kind: 'progress'; readonly progress: Progress }
  /** An error of ours that one submission met. */
  | { readonly kind: 'defect'; readonly message: string }
  /** Nothing more will be taken; the message says why and what to do. */
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'closed' };

/** How many counters there are, and how many dates have any. */
export interface CounterSizes {
  readonly rows: number;
  readonly dates: number;
}

export type ReaderRequest =
  | { readonly kind: 'stats'; readonly request: StatsRequest; readonly known: KnownVersions }
  | { readonly kind: 'rows'; readonly query: CounterQuery }
  | { readonly kind: 'receipt'; readonly batchId: string }
  | { readonly kind: 'sizes' };

export type ToReader =
  | (ReaderRequest & { readonly id: number })
  /** So much of what was sent has been taken, in the measure of its message. */
  | { readonly kind: 'taken'; readonly id: number; readonly size: number }
  /** The rest is not wanted. */
  | { readonly kind: 'cancel'; readonly id: number }
  | { readonly kind: 'close' };

export type FromReader =
  | { readonly kind: 'ready' }
  | (Extract<StatsAnswer, { kind: 'whole' | 'unchanged' }> & { readonly id: number })
  /** An answer in pieces, more of which come as those are taken; then comes `end`. */
  | { readonly kind: 'stream'; readonly id: number; readonly version: string | undefined }
  | { readonly kind: 'piece'; readonly id: number; readonly bytes: Uint8Array<ArrayBuffer> }
  /** The same of `rows`, without a beginning. */
  | {
      readonly kind: 'rows';
      readonly id: number;
      readonly size: number;
      readonly rows: readonly CounterRow[];
    }
  | { readonly kind: 'end'; readonly id: number }
  | { readonly kind: 'receipt'; readonly id: number; readonly receipt: Receipt | undefined }
  | { readonly kind: 'sizes'; readonly id: number; readonly sizes: CounterSizes }
  /** Too many others are being answered. */
  | { readonly kind: 'busy'; readonly id: number }
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }
  /** The files cannot be read; the message says why and what to do. */
  | { readonly kind: 'broken'; readonly message: string };

export type WorkerSettings = EmbeddedOptions;
