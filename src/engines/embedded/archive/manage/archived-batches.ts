import { asWritten } from '../../../../domain/day.ts';
import { withThousands } from '../../../../util/thousands.ts';
import type { LogPosition } from '../../log/frame.ts';
import { RecordCounter } from '../../store/record-counter.ts';
import { storedBodyOf, type StoredBody } from '../../store/raw-batches.ts';
import {
  bytesOfPiece,
  readUpToDamage,
  type ArchiveContent,
  type NumberedPiece,
} from '../read-archive.ts';
import type { ObjectStore } from '../stores/object-store.ts';
import {
  archivedRecords,
  bytesOf,
  decompressed,
  identityOf,
  InvalidRecord,
  isOfContent,
  type ArchivedPart,
  type LogBytes,
} from './archived-records.ts';

/** A batch, or a part of the log that the archive lacks. */
export type ArchivedBatch =
  | {
      readonly batch: StoredBody;
      /** Whether the batch cannot be counted, so that a restore makes it a dead letter. */
      readonly isDeadLetter: boolean;
      readonly damage?: never;
    }
  | {
      readonly batch?: never;
      readonly isDeadLetter?: never;
      /** A sentence. */
      readonly damage: string;
      /** Whether retention has removed it. */
      readonly isRemoved: boolean;
    };

/** The batches of a log in an archive. */
interface ArchivedBatches {
  /** The day rule; undefined if no segment has a header that can be read. */
  readonly dayZone: string | undefined;
  /** The end of the log when it was opened. */
  readonly end: LogPosition;
  /**
   * All batches in the order of the log, up to a piece that is missing or damaged, also while a server
   * ships to the archive. Bodies stay valid.
   * Memory: one object as stored, and some MiB of its content; nothing on disk.
   */
  read(): AsyncGenerator<ArchivedBatch, void>;
}

export async function openArchivedBatches(
  store: ObjectStore,
  logId: string,
): Promise<ArchivedBatches> {
  const content = await readUpToDamage(store, logId);
  const dayZone = await dayZoneOf(store, content);
  const read = () => new ArchiveReader(store, content, dayZone ?? asWritten).read();
  return { dayZone, end: content.end, read };
}

/** Bytes of the log that an object holds: a segment, or a piece. */
interface Part extends ArchivedPart {
  readonly name: string;
  readonly piece?: NumberedPiece;
}

/** The day rule in the first readable header. */
async function dayZoneOf(store: ObjectStore, content: ArchiveContent): Promise<string | undefined> {
  let part = partFrom(content, content.begin);
  for (; part !== undefined; part = partFrom(content, part.to)) {
    if (part.from > part.base) continue;
    try {
      const bytes = await load(store, content.logId, part);
      const identity = bytes && (await identityOf(bytes, part.base));
      if (identity !== undefined) return identity.dayZone;
    } catch (error) {
      if (!isOfContent(error)) throw error;
    }
  }
  return undefined;
}

/** The part that continues at a position; undefined at the end. */
function partFrom({ segments, pieces }: ArchiveContent, position: LogPosition): Part | undefined {
  const segment = segments.find(({ end }) => end > position);
  if (segment !== undefined) {
    const { name, base, end: to } = segment;
    return { name, base, from: base, to };
  }
  const piece = pieces.find(({ to }) => to > position);
  return piece && { ...piece, piece, name: `piece ${piece.number} of the tail` };
}

async function load(
  store: ObjectStore,
  logId: string,
  { name, piece }: Part,
): Promise<LogBytes | undefined> {
  if (piece !== undefined) {
    const bytes = await bytesOfPiece(store, logId, piece);
    return bytes && bytesOf(bytes);
  }
  const object = await store.get(name);
  return object && decompressed(object);
}

class ArchiveReader {
  readonly #store: ObjectStore;
  readonly #counter: RecordCounter;
  #content: ArchiveContent;
  #position: LogPosition = 0;
  #missing: string | undefined;

  constructor(store: ObjectStore, content: ArchiveContent, dayZone: string) {
    this.#store = store;
    this.#content = content;
    this.#counter = new RecordCounter(dayZone);
  }

  async *read(): AsyncGenerator<ArchivedBatch, void> {
    for (;;) {
      const { begin } = this.#content;
      if (begin > this.#position) {
        yield { damage: this.#removed(begin), isRemoved: true };
        this.#position = begin;
      }
      const part = partFrom(this.#content, this.#position);
      if (part === undefined) break;
      const bytes = await load(this.#store, this.#content.logId, part);
      if (bytes !== undefined) yield* this.#readPart(part, bytes);
      else if (this.#missing === part.name) {
        const damage = `${part.name} is missing in ${this.#store.url}.`;
        yield { damage, isRemoved: false };
        this.#position = part.to;
      } else {
        // A merge or retention has removed it: its content may be in another object now.
        this.#missing = part.name;
        this.#content = await readUpToDamage(this.#store, this.#content.logId);
      }
    }
    const { damage } = this.#content;
    if (damage !== undefined) yield { damage: damage.message, isRemoved: false };
  }

  async *#readPart(part: Part, bytes: LogBytes): AsyncGenerator<ArchivedBatch, void> {
    const { logId } = this.#content;
    try {
      for await (const record of archivedRecords(bytes, part, logId)) {
        if (record.position < this.#position) continue;
        this.#position = record.position + 1;
        const isDeadLetter = this.#counter.count(record) !== undefined;
        if (this.#counter.isFull) this.#counter.takeIncrements();
        yield { batch: storedBodyOf(record, logId), isDeadLetter };
      }
    } catch (error) {
      if (!(error instanceof InvalidRecord || isOfContent(error))) throw error;
      const damage = `Bytes ${this.#position} to ${part.to} of the log are damaged in ${part.name}.`;
      yield { damage, isRemoved: false };
    }
    this.#position = part.to;
  }

  #removed(begin: LogPosition): string {
    const bytes = withThousands(begin - this.#position);
    return `${this.#store.url} no longer has ${bytes} bytes of raw batches, which cannot be replayed.`;
  }
}
