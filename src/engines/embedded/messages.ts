import type { BatchId } from '../../domain/batch-id.ts';
import type { CounterRow } from '../../domain/counter.ts';
import type { CounterQuery, IngestOutcome, Receipt, Submission } from '../../pipeline/ports.ts';
import type { EmbeddedOptions } from './engine-options.ts';

/** Submissions handed to the writer at once, their bodies end to end in one buffer. */
export interface Parcel {
  readonly kind: 'parcel';
  readonly id: number;
  readonly bodies: ArrayBuffer;
  readonly submissions: readonly PackedSubmission[];
}

/** The length of the body alone where nothing else is special: objects are dear to copy. */
export type PackedSubmission = number | (Omit<Submission, 'body'> & { readonly bodyBytes: number });

/** Batch id, raw key and enqueued items where nothing was refused, else the whole outcome. */
export type PackedOutcome = readonly [BatchId, string, number] | IngestOutcome;

export function packSubmission({ body, ...rest }: Submission): PackedSubmission {
  const { encoding, strict, caller, idempotencyKey } = rest;
  const isPlain =
    encoding === 'identity' && !strict && caller === '' && idempotencyKey === undefined;
  return isPlain ? body.length : { ...rest, bodyBytes: body.length };
}

/** The submission whose body begins at `offset` of the parcel. */
export function unpackSubmission(
  packed: PackedSubmission,
  bodies: ArrayBuffer,
  offset: number,
): Submission {
  if (typeof packed === 'number') {
    const body = new Uint8Array(bodies, offset, packed);
    return { body, encoding: 'identity', strict: false, caller: '', idempotencyKey: undefined };
  }
  const { bodyBytes, ...rest } = packed;
  return { ...rest, body: new Uint8Array(bodies, offset, bodyBytes) };
}

export function packOutcome(outcome: IngestOutcome): PackedOutcome {
  if (!outcome.accepted || outcome.rejected > 0) return outcome;
  return [outcome.batchId, outcome.rawKey, outcome.enqueued];
}

export function unpackOutcome(packed: PackedOutcome): IngestOutcome {
  if ('accepted' in packed) return packed;
  const [batchId, rawKey, enqueued] = packed;
  return { accepted: true, batchId, rawKey, enqueued, rejected: 0, errors: [] };
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
      readonly outcomes: readonly PackedOutcome[];
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
