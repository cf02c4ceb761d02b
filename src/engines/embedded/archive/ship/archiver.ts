import { segmentOf, listSegments } from '../../log/segment.ts';
import type { LogPosition } from '../../log/frame.ts';
import { decodeTail, encodePiece, nameOf, type PieceHeader } from '../archive-objects.ts';
import { takenOver } from './taken-over.ts';
import { archiverLimits, type ArchiverLimits } from './archiver-limits.ts';
import { claimArchive, type Claiming } from './claim-archive.ts';
import { mergeSegment } from './merge-segment.ts';
import { nextPiece, type LogPiece } from './next-piece.ts';
import type { ArchiveContent } from '../read-archive.ts';
import { isFinal, Repeater, type ArchiverClock } from './repeater.ts';
import type { ObjectStore } from '../stores/object-store.ts';
import { UnmergedSegments } from './unmerged-segments.ts';

interface ArchiverOptions extends Omit<Claiming, 'now' | 'limits'> {
  /** `archiverLimits` by default. */
  readonly limits?: ArchiverLimits;
  /** Ships each commit at once, because clients wait for it. */
  readonly isSync: boolean;
  /** How long records may wait to be shipped together, in milliseconds. */
  readonly intervalMs: number;
  /** How many bytes of the log may be shipped per second. */
  readonly bytesPerSecondMax: number;
  readonly tokens: {
    /** Whether the tokens differ from those shipped last. */
    areChanged(): boolean;
    ship(store: ObjectStore, logId: string): Promise<void>;
  };
  /** Removes objects that no restore needs. */
  readonly removeUnneeded: (store: ObjectStore, logId: string) => Promise<void>;
  readonly clock: ArchiverClock;
  readonly onArchived: (progress: Archived) => void;
  /** Why the archive cannot be reached now; undefined once it can be reached. */
  readonly onProblem: (problem: string | undefined) => void;
}

export interface Archived {
  /** Bytes stored by the last upload. */
  readonly storedBytes: number;
}

const pollMs = 1_000;

interface Upload {
  readonly piece: LogPiece;
  readonly number: number;
  readonly at: number;
  readonly storedBytes: number;
  isDone: boolean;
}

/**
 * Ships the log to the archive as it grows, a few pieces at a time, in the order of the log.
 * Retries failures indefinitely, so that it catches up after an outage of the archive, and stops at
 * the first sign that another server has taken over.
 */
export class Archiver {
  readonly #options: ArchiverOptions;
  readonly #logId: string;
  readonly #limits: ArchiverLimits;
  readonly #repeater: Repeater;
  readonly #uploads: Upload[] = [];
  #unmerged: UnmergedSegments | undefined;
  #claim = { id: '', number: 0 };
  #next = 0;
  /** Everything before it is archived or being uploaded. */
  #shippedEnd: LogPosition = 0;
  #lastCutAt = Number.NEGATIVE_INFINITY;
  /** Shipping more before this time would exceed the rate; of `elapsedMs`. */
  #paceUntil = 0;
  #merging: Promise<void> | undefined;
  #failure: unknown;
  #wake: () => void = () => undefined;

  constructor(options: ArchiverOptions) {
    const { clock, onProblem, claims, limits = archiverLimits } = options;
    this.#options = options;
    this.#limits = limits;
    this.#logId = options.log.identity.logId.toString('hex');
    const hasWorked = () => claims.read() !== undefined;
    this.#repeater = new Repeater({ clock, onProblem, hasWorked });
  }

  /**
   * Ships until `stop`.
   * @throws {TakenOver | ArchiveUnusable | LogDamaged} if it cannot continue.
   */
  async run(): Promise<void> {
    try {
      await this.#takeOver();
      await this.#ship();
    } catch (error) {
      if (isFinal(error) || !this.#repeater.isOverdue) throw error;
    }
  }

  /** Ships the log that is durable now, for at most `graceMs`; `run` returns after that. */
  stop(graceMs: number): void {
    this.#repeater.stop(graceMs);
  }

  async #takeOver(): Promise<void> {
    const { clock, positions, onArchived, log } = this.#options;
    const { now } = clock;
    const { claim, content } = await claimArchive(
      { ...this.#options, limits: this.#limits, now },
      this.#repeater,
    );
    this.#claim = claim;
    this.#next = claim.next;
    this.#shippedEnd = claim.from;
    this.#unmerged = new UnmergedSegments(log, content, this.#limits);
    positions.archivedEnd = claim.from;
    this.#release();
    const last = content.pieces.at(-1) ?? content.segments.at(-1);
    if (last !== undefined) positions.archivedAt = last.at;
    onArchived({ storedBytes: 0 });
    this.#mergeNext();
    if (hasLeftovers(content)) void this.#removeLeftovers();
  }

  async #removeLeftovers(): Promise<void> {
    const { store, removeUnneeded } = this.#options;
    try {
      await this.#repeater.repeat(() => removeUnneeded(store, this.#logId));
    } catch (error) {
      this.#failure ??= error;
    }
  }

  async #ship(): Promise<void> {
    const { store, tokens } = this.#options;
    while (!this.#isFinished()) {
      if (this.#failure !== undefined) throw this.#failure as Error;
      if (this.#startUpload()) continue;
      if (tokens.areChanged()) await this.#repeater.repeat(() => tokens.ship(store, this.#logId));
      this.#noteCaughtUp();
      await this.#change();
    }
  }

  #noteCaughtUp(): void {
    const { positions, clock } = this.#options;
    // Read the time first: records that become durable after it are not archived.
    const now = clock.now();
    if (positions.archivedEnd >= positions.durableEnd) positions.archivedAt = now;
  }

  #isFinished(): boolean {
    const { isStopping, isOverdue } = this.#repeater;
    const { archivedEnd, durableEnd } = this.#options.positions;
    const isShipped = archivedEnd >= durableEnd && this.#merging === undefined;
    return isStopping && (isShipped || isOverdue);
  }

  /** Starts the upload of the next piece, if there is one that should not wait. */
  #startUpload(): boolean {
    if (this.#uploads.length >= this.#limits.uploadsMax || this.#isPaced()) return false;
    const { log, positions, clock } = this.#options;
    const { pieceBytesMax } = this.#limits;
    // Read the time first: the piece may also contain records that become durable after it.
    const at = clock.now();
    const piece = nextPiece(log, this.#shippedEnd, positions.durableEnd, pieceBytesMax);
    if (piece === undefined || !this.#isDue(piece)) return false;
    const header: PieceHeader = {
      ...{ kind: 'piece', claim: this.#claim.id, base: piece.segment.base },
      ...{ from: piece.from, to: piece.to, at },
      confirmed: this.#uploads[0]?.number ?? this.#next,
    };
    const object = encodePiece(header, piece.bytes);
    const upload = { piece, number: this.#next, at, storedBytes: object.length, isDone: false };
    this.#next++;
    this.#shippedEnd = piece.to;
    this.#lastCutAt = clock.elapsedMs();
    this.#pace(piece.to - piece.from);
    this.#uploads.push(upload);
    void this.#upload(upload, object);
    return true;
  }

  #isDue({ isFull, isLast, from, to }: LogPiece): boolean {
    const { isSync, intervalMs, clock } = this.#options;
    const isLarge = isFull || to - from >= this.#limits.pieceBytesMax / 2;
    if (isSync || isLast || isLarge || this.#repeater.isStopping) return true;
    return clock.elapsedMs() - this.#lastCutAt >= intervalMs;
  }

  #isPaced(): boolean {
    return !this.#repeater.isStopping && this.#options.clock.elapsedMs() < this.#paceUntil;
  }

  #pace(bytes: number): void {
    const now = this.#options.clock.elapsedMs();
    const ms = (bytes / this.#options.bytesPerSecondMax) * 1000;
    this.#paceUntil = Math.max(now, this.#paceUntil) + ms;
  }

  async #upload(upload: Upload, object: Uint8Array): Promise<void> {
    try {
      await this.#repeater.repeat(() => this.#create(upload.number, object));
      upload.isDone = true;
      this.#confirm();
    } catch (error) {
      this.#failure ??= error;
    }
    this.#wake();
  }

  /** @throws {TakenOver} if another server has created the object. */
  async #create(number: number, object: Uint8Array): Promise<void> {
    const { store } = this.#options;
    const name = nameOf('tail', this.#logId, number);
    if ((await store.create(name, object)) === 'created') return;
    const found = await store.get(name);
    // A merge may have removed it after the response to an earlier attempt was lost.
    if (found === undefined) throw new Error(`${name} existed and is missing now`);
    if (Buffer.compare(found, object) === 0) return;
    const other = decodeTail(found);
    throw takenOver(store.url, other.kind === 'claim' ? other : undefined);
  }

  /** Moves on past the uploads that are done, in the order of the log. */
  #confirm(): void {
    const { positions, onArchived } = this.#options;
    for (let first = this.#uploads[0]; first?.isDone === true; first = this.#uploads[0]) {
      this.#uploads.shift();
      const { piece, number, at, storedBytes } = first;
      this.#unmerged?.add(piece.segment.base, piece.to, number, at);
      if (piece.isLast) this.#unmerged?.checkComplete();
      positions.archivedEnd = piece.to;
      positions.archivedAt = at;
      onArchived({ storedBytes });
    }
    this.#release();
    this.#mergeNext();
  }

  /** Retention may remove merged segments; a merge reads the segment again. */
  #release(): void {
    const { positions, log } = this.#options;
    const segments = listSegments(log.fileSystem, log.directory);
    const open = segmentOf(segments, positions.archivedEnd)?.base ?? 0;
    positions.releasedEnd = Math.min(this.#unmerged?.begin ?? open, open);
  }

  #mergeNext(): void {
    const due = this.#unmerged?.nextDue();
    if (due === undefined || this.#merging !== undefined || this.#failure !== undefined) return;
    const { store, log } = this.#options;
    this.#pace(due.end - due.base);
    this.#merging = this.#repeater
      .repeat(() => mergeSegment(store, log, { ...due, claimNumber: this.#claim.number }))
      .then(
        (name) => this.#unmerged?.noteMerged(due, name),
        (error: unknown) => (this.#failure ??= error),
      )
      .then(() => {
        this.#merging = undefined;
        this.#release();
        this.#mergeNext();
        this.#wake();
      });
  }

  /** Resolves when there may be something to do. */
  async #change(): Promise<void> {
    const { positions, clock, isSync, intervalMs } = this.#options;
    const woken = new Promise<void>((resolve) => (this.#wake = resolve));
    const paceMs = this.#paceUntil - clock.elapsedMs();
    const waitMs = Math.min(pollMs, intervalMs, paceMs > 0 ? paceMs : pollMs);
    const isWaitingForLog = isSync && this.#uploads.length < this.#limits.uploadsMax && paceMs <= 0;
    const grown = isWaitingForLog ? [positions.durableAbove(this.#shippedEnd, waitMs)] : [];
    await this.#repeater.pause(waitMs, woken, ...grown);
  }
}

/** Whether the previous server was killed during a merge: its pieces come after its claim. */
function hasLeftovers({ earlier, superseded, claim }: ArchiveContent): boolean {
  return superseded.length > 0 || earlier.some((number) => number > (claim?.number ?? number));
}
