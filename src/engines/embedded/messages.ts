import type { CounterRow } from '../../domain/counter.ts';
import type { CounterQuery, IngestOutcome, Receipt, Submission } from '../../pipeline/ports.ts';
import type { EmbeddedOptions } from './engine-options.ts';

/** Submissions handed to the writer at once, their bodies end to end in one buffer. */
export interface Parcel {
  readonly kind: 'parcel';
  readonly id: number;
  readonly bodies: ArrayBuffer;
  readonly submissions: readonly (Omit<Submission, 'body'> & { readonly bodyBytes: number })[];
}

export type ToWriter = Parcel | { readonly kind: 'close' };

/** How far the writer has come. Positions in the log, in bytes. */
export interface Progress {
  readonly durableEnd: number;
  readonly countedThrough: number;
  readonly deadLetters: number;
}

export type FromWriter =
  | { readonly kind: 'ready'; readonly progress: Progress; readonly tornBytes: number }
  /** The outcomes of a parcel's submissions, in their order. */
  | {
      readonly kind: 'outcomes';
      readonly id: number;
      readonly outcomes: readonly IngestOutcome[];
      readonly progress: Progress;
    }
  | { readonly kind: 'progress'; readonly progress: Progress }
  /** An error of ours that one submission met. */
  | { readonly kind: 'defect'; readonly message: string }
  /** Nothing more will be taken; the message says why and what to do. */
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'closed' };

export type ReaderRequest =
  | { readonly kind: 'stats'; readonly query: CounterQuery }
  | { readonly kind: 'receipt'; readonly batchId: string };

export type ToReader = (ReaderRequest & { readonly id: number }) | { readonly kind: 'close' };

export type FromReader =
  | { readonly kind: 'ready' }
  | {
      readonly kind: 'answer';
      readonly id: number;
      readonly rows?: readonly CounterRow[];
      readonly receipt?: Receipt | undefined;
    }
  | { readonly kind: 'failed'; readonly id: number; readonly message: string }
  /** The files cannot be read; the message says why and what to do. */
  | { readonly kind: 'broken'; readonly message: string };

export type WorkerSettings = EmbeddedOptions;
