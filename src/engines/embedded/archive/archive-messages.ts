import type { Archived } from './ship/archiver.ts';

/** Settings of the archive. Times are milliseconds. */
export interface ArchiveOptions {
  /** `s3://bucket/prefix` or `file:///directory`. */
  readonly url: string;
  /** Whether clients get a response only once their batches are in the archive, too. */
  readonly isSync: boolean;
  /** How long records may wait to be shipped together. */
  readonly intervalMs: number;
  /** How many bytes of the log may be shipped per second. */
  readonly bytesPerSecondMax: number;
  /** How long the archive keeps batches, in running time; undefined: forever. */
  readonly keepMs?: number | undefined;
}

/** What retention has removed from the archive, or why it failed. */
export type Pruned =
  | { readonly objects: number; readonly bytes: number; readonly problem?: never }
  | { readonly problem: string };

export interface ArchiveSettings {
  readonly options: ArchiveOptions;
  readonly dataDir: string;
  /** The memory of `ArchivePositions`. */
  readonly memory: SharedArrayBuffer;
}

/**
 * The only message to the thread is how long it may continue to ship before it must stop, in
 * milliseconds.
 */
export type FromArchive =
  | ({ readonly kind: 'archived' } & Archived)
  /** Why the archive cannot be reached now; undefined: it can be reached again. */
  | { readonly kind: 'problem'; readonly problem: string | undefined }
  | ({ readonly kind: 'pruned' } & Pruned)
  /** The archive cannot be continued; the message says why and what to do. */
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'closed' };
