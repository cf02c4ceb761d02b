export interface StoredObject {
  /** Relative to the archive, such as `3f…/log/…`. */
  readonly name: string;
  /** Size in bytes, as stored. */
  readonly bytes: number;
}

/**
 * The storage of an archive's objects. Names have only the characters a–z, 0–9, `-`, `.` and `/`.
 * Every method rejects with `ArchiveUnusable` if an operator has to change something; any other
 * error may not recur at the next attempt. An attempt takes a bounded time. No method retries.
 */
export interface ObjectStore {
  /** Its name in messages, such as `s3://bucket/prefix`. */
  readonly url: string;
  /**
   * Creates a durable object, completely or not at all. Never replaces one: resolves to `exists` if
   * the name is taken, perhaps by an earlier attempt whose response was lost.
   */
  create(name: string, bytes: Uint8Array): Promise<'created' | 'exists'>;
  /** The object's bytes; undefined if there is none. */
  get(name: string): Promise<Uint8Array | undefined>;
  /** The objects whose names begin with `prefix`, in the order of their names. */
  list(prefix: string): AsyncIterable<StoredObject>;
  /** Removes an object, if it exists. */
  remove(name: string): Promise<void>;
  close(): void;
}

/** The archive cannot be used as it is; the message says why and what to do. */
export class ArchiveUnusable extends Error {
  override readonly name = 'ArchiveUnusable';
}
