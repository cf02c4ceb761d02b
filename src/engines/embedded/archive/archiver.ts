import { randomUUID } from 'node:crypto';

import { listSegments, segmentOf } from '../log/segment.ts';
import type { LogPosition } from '../log/frame.ts';
import {
  decodeTail,
  encodeClaim,
  encodePiece,
  tailName,
  type ArchivedSegment,
  type Claim,
  type PieceHeader,
} from './archive-objects.ts';
import type { ArchivePositions } from './archive-positions.ts';
import { checkContinues, takenOver, TakenOver } from './check-continues.ts';
import { mergeSegment, type MergedPieces } from './merge-segment.ts';
import { nextPiece, type LogPiece, type ShippedLog } from './next-piece.ts';
import { ArchiveUnusable, type ObjectStore } from './stores/object-store.ts';
import { checkConditionalCreate } from './stores/open-object-store.ts';
import { getTail, readArchive, type ArchiveContent } from './read-archive.ts';
import { LogDamaged } from '../log/recovery.ts';

/** The clock and the randomness of the archiver; `sleep` may end early. */
export interface ArchiverClock {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Milliseconds of a clock that only goes forward. */
  readonly elapsedMs: () => number;
  readonly sleep: (milliseconds: number) => Promise<void>;
  /** From 0 to 1. */
  readonly random: () => number;
}

export interface ArchiverOptions {
  readonly store: ObjectStore;
  readonly log: ShippedLog;
  readonly positions: ArchivePositions;
  /** Ships each commit at once, because clients wait for it. */
  readonly isSync: boolean;
  /** How long records may wait to be shipped together, in milliseconds. */
  readonly intervalMs: number;
  /** How many bytes of the log may be shipped per second. */
  readonly bytesPerSecondMax: number;
  /** What the data directory knows of its archive; see `ArchiveState`. */
  readonly claims: {
    read(): readonly string[] | undefined;
    write(claims: readonly string[]): void;
  };
  /** Makes the first objects of an archive of a log whose beginning was removed. */
  readonly shipState: (store: ObjectStore, logId: string) => Promise<void>;
  readonly tokens: {
    /** Whether they differ from what was shipped last. */
    areChanged(): boolean;
    ship(store: ObjectStore, logId: string): Promise<void>;
  };
  /** Of this server, for the message of one that it takes over from. */
  readonly host: string;
  readonly directory: string;
  readonly clock: ArchiverClock;
  readonly onArchived: (progress: Archived) => void;
  /** Why the archive cannot be reached now; undefined once it can. */
  readonly onProblem: (problem: string | undefined) => void;
}

export interface Archived {
  readonly through: LogPosition;
  /** Everything durable at this time is archived; milliseconds since 1970. */
  readonly at: number;
  /** Bytes stored by the last upload. */
  readonly storedBytes: number;
}

/** Bytes of the log in a piece, at most, unless a single record is larger. */
const pieceBytesMax = 8 * 1024 * 1024;
const uploadsMax = 4;
/** Must be above `uploadsMax`: the numbers that uploads of an earlier server may still take. */
const claimGap = 1_000;
/** Pieces of an open segment are merged at this number, so that a restore reads few objects. */
const piecesUnmergedMax = 1_000;
const firstRetryMs = 200;
const retryMsMax = 30_000;
const pollMs = 1_000;

interface Upload {
  readonly piece: LogPiece;
  readonly number: number;
  readonly at: number;
  readonly storedBytes: number;
  isDone: boolean;
}

/** The pieces of a segment that are not merged yet. */
interface Unmerged {
  readonly base: LogPosition;
  end: LogPosition;
  at: number;
  lastNumber: number;
  numbers: number[];
  superseded: string[];
  isComplete: boolean;
}

/**
 * Ships the log to the archive as it grows, a few pieces at a time, in the order of the log. Retries for
 * ever, so that an archive that is away is caught up with, and stops at the first sign of another server
 * that has taken over.
 */
export class Archiver {
  readonly #options: ArchiverOptions;
  readonly #logId: string;
  readonly #uploads: Upload[] = [];
  readonly #unmerged = new Map<LogPosition, Unmerged>();
  /** Of segments that had been merged in part when this server claimed the archive. */
  #merged: readonly ArchivedSegment[] = [];
  #claim = '';
  #next = 0;
  /** Everything before it is archived or on its way. */
  #shippedEnd: LogPosition = 0;
  #lastCutAt = Number.NEGATIVE_INFINITY;
  /** Shipping more before this time would exceed the rate; of `elapsedMs`. */
  #paceUntil = 0;
  #merging: Promise<void> | undefined;
  #failure: unknown;
  #wake: () => void = () => undefined;
  readonly #stopped = Promise.withResolvers<undefined>();
  #stopBy = Number.POSITIVE_INFINITY;
  #isStopping = false;
  /** The number of acts that have failed and are repeated. */
  #failing = 0;

  constructor(options: ArchiverOptions) {
    this.#options = options;
    this.#logId = options.log.identity.logId.toString('hex');
  }

  /**
   * Ships until `stop`.
   * @throws {TakenOver | ArchiveUnusable | LogDamaged} if it cannot go on.
   */
  async run(): Promise<void> {
    try {
      await this.#ship();
    } catch (error) {
      if (!this.#isOverdue() || isFinal(error)) throw error;
    }
  }

  async #ship(): Promise<void> {
    await this.#takeOver();
    this.#mergeNext();
    while (!this.#isFinished()) {
      if (this.#failure !== undefined) throw this.#failure as Error;
      if (this.#startUpload()) continue;
      await this.#shipTokens();
      await this.#change();
    }
  }

  async #shipTokens(): Promise<void> {
    const { store, tokens } = this.#options;
    if (tokens.areChanged()) await this.#persist(() => tokens.ship(store, this.#logId));
  }

  /** Ships what is durable by then, for at most `graceMs`; `run` returns after that. */
  stop(graceMs: number): void {
    this.#isStopping = true;
    this.#stopBy = this.#options.clock.elapsedMs() + graceMs;
    this.#stopped.resolve(undefined);
  }

  #isFinished(): boolean {
    if (!this.#isStopping) return false;
    const isShipped = this.#options.positions.archivedEnd >= this.#options.positions.durableEnd;
    return (isShipped && this.#merging === undefined) || this.#isOverdue();
  }

  #isOverdue(): boolean {
    return this.#options.clock.elapsedMs() >= this.#stopBy;
  }

  /** Claims the archive for this server, after it has checked that the log goes on from it. */
  async #takeOver(): Promise<void> {
    const { store, log, positions, claims } = this.#options;
    await this.#persist(() => checkConditionalCreate(store));
    for (;;) {
      const content = await this.#persist(() => readArchive(store, this.#logId));
      const known = claims.read();
      await this.#persist(() => checkContinues({ store, log, positions, content, known }));
      const from = content.claim === undefined ? this.#begin() : content.end;
      if (content.claim === undefined && from > 0) {
        await this.#persist(() => this.#options.shipState(store, this.#logId));
      }
      const claim = this.#newClaim(content.next, from);
      claims.write([...(content.claim === undefined ? [] : [content.claim.id]), claim.id]);
      const name = tailName(this.#logId, content.next);
      const created = await this.#persist(() => store.create(name, encodeClaim(claim)));
      const isOurs = created === 'created' || (await this.#isClaim(content.next, claim.id));
      if (!isOurs) continue;
      this.#continueAfter(content, claim);
      return;
    }
  }

  #newClaim(number: number, from: LogPosition): Claim {
    const { host, directory, clock } = this.#options;
    const claimedAt = new Date(clock.now()).toISOString();
    return {
      ...{ kind: 'claim', id: randomUUID(), next: number + claimGap, from },
      ...{ host, directory, claimed_at: claimedAt },
    };
  }

  async #isClaim(number: number, id: string): Promise<boolean> {
    const found = await this.#persist(() => getTail(this.#options.store, this.#logId, number));
    return found?.kind === 'claim' && found.id === id;
  }

  #begin(): LogPosition {
    const { fileSystem, directory } = this.#options.log;
    return listSegments(fileSystem, directory)[0]?.base ?? 0;
  }

  #continueAfter(content: ArchiveContent, claim: Claim): void {
    this.#claim = claim.id;
    this.#next = claim.next;
    this.#shippedEnd = claim.from;
    this.#merged = [...content.superseded, ...content.segments];
    for (const { number, base, to, at } of content.pieces) this.#addUnmerged(base, to, number, at);
    this.#markComplete();
    const { positions, clock, onArchived } = this.#options;
    positions.archivedEnd = claim.from;
    this.#release();
    onArchived({ through: claim.from, at: clock.now(), storedBytes: 0 });
  }

  /** Starts the upload of the next piece, if there is one that should not wait. */
  #startUpload(): boolean {
    if (this.#uploads.length >= uploadsMax || this.#isPaced()) return false;
    const { log, positions, clock } = this.#options;
    // The time first: what becomes durable after it may be in the piece, too.
    const at = clock.now();
    const piece = nextPiece(log, this.#shippedEnd, positions.durableEnd, pieceBytesMax);
    if (piece === undefined || !this.#isDue(piece)) return false;
    const header: PieceHeader = {
      ...{ kind: 'piece', claim: this.#claim, base: piece.segment.base },
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

  #isDue({ isLast, from, to }: LogPiece): boolean {
    const { isSync, intervalMs, clock } = this.#options;
    if (isSync || isLast || this.#isStopping || to - from >= pieceBytesMax / 2) return true;
    return clock.elapsedMs() - this.#lastCutAt >= intervalMs;
  }

  #isPaced(): boolean {
    return !this.#isStopping && this.#options.clock.elapsedMs() < this.#paceUntil;
  }

  #pace(bytes: number): void {
    const now = this.#options.clock.elapsedMs();
    const ms = (bytes / this.#options.bytesPerSecondMax) * 1000;
    this.#paceUntil = Math.max(now, this.#paceUntil) + ms;
  }

  async #upload(upload: Upload, object: Uint8Array): Promise<void> {
    try {
      await this.#persist(() => this.#create(upload.number, object));
      upload.isDone = true;
      this.#confirm();
    } catch (error) {
      this.#failure ??= error;
    }
    this.#wake();
  }

  /** @throws {TakenOver} if another server has made the object. */
  async #create(number: number, object: Uint8Array): Promise<void> {
    const { store } = this.#options;
    const name = tailName(this.#logId, number);
    if ((await store.create(name, object)) === 'created') return;
    const found = await store.get(name);
    // A merge may have removed it after the reply of an earlier attempt was lost.
    if (found === undefined) throw new Error(`${name} was there and is gone`);
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
      this.#addUnmerged(piece.segment.base, piece.to, number, at);
      if (piece.isLast) this.#markComplete();
      positions.archivedEnd = piece.to;
      onArchived({ through: piece.to, at, storedBytes });
    }
    this.#release();
    this.#mergeNext();
  }

  #addUnmerged(base: LogPosition, end: LogPosition, number: number, at: number): void {
    const open = this.#unmerged.get(base);
    if (open !== undefined) {
      Object.assign(open, { end, at, lastNumber: number });
      open.numbers.push(number);
      return;
    }
    // Pieces come in the order of the log.
    for (const earlier of this.#unmerged.values()) earlier.isComplete = true;
    const names = this.#merged.filter((one) => one.base === base).map(({ name }) => name);
    const place = { base, end, at, lastNumber: number, numbers: [number] };
    this.#unmerged.set(base, { ...place, superseded: names, isComplete: false });
  }

  /** Finds out whether the last segment of which there are pieces has ended. */
  #markComplete(): void {
    const { fileSystem, directory } = this.#options.log;
    const last = [...this.#unmerged.values()].at(-1);
    if (last === undefined) return;
    last.isComplete = listSegments(fileSystem, directory).some(({ base }) => base === last.end);
  }

  /** Retention may remove what is merged; a merge reads the segment again. */
  #release(): void {
    const { positions, log } = this.#options;
    const [firstUnmerged] = this.#unmerged.keys();
    const segments = listSegments(log.fileSystem, log.directory);
    const open = segmentOf(segments, positions.archivedEnd)?.base ?? 0;
    positions.releasedEnd = Math.min(firstUnmerged ?? open, open);
  }

  #mergeNext(): void {
    if (this.#merging !== undefined || this.#failure !== undefined) return;
    const due = [...this.#unmerged.values()].find(
      ({ isComplete, numbers }) => isComplete || numbers.length >= piecesUnmergedMax,
    );
    if (due === undefined) return;
    this.#merging = this.#merge(due).then(
      () => this.#afterMerge(),
      (error: unknown) => {
        this.#failure ??= error;
        this.#afterMerge();
      },
    );
  }

  #afterMerge(): void {
    this.#merging = undefined;
    this.#release();
    this.#mergeNext();
    this.#wake();
  }

  async #merge(open: Unmerged): Promise<void> {
    const { store, log } = this.#options;
    const { base, end, at, lastNumber, isComplete } = open;
    const numbers = [...open.numbers];
    const merged: MergedPieces = {
      base,
      end,
      at,
      lastNumber,
      numbers,
      superseded: open.superseded,
    };
    this.#pace(end - base);
    const name = await this.#persist(() => mergeSegment(store, log, merged));
    if (isComplete) {
      this.#unmerged.delete(base);
      return;
    }
    open.numbers = open.numbers.slice(numbers.length);
    open.superseded = [name];
  }

  /** Resolves when there may be something to do. */
  async #change(): Promise<void> {
    const { positions, clock, isSync, intervalMs } = this.#options;
    const woken = new Promise<void>((resolve) => (this.#wake = resolve));
    const paceMs = this.#paceUntil - clock.elapsedMs();
    const waitMs = Math.min(pollMs, intervalMs, paceMs > 0 ? paceMs : pollMs);
    const canCut = isSync && this.#uploads.length < uploadsMax && paceMs <= 0;
    const grown = canCut ? positions.durableAbove(this.#shippedEnd, waitMs) : clock.sleep(waitMs);
    await Promise.race([woken, grown, ...(this.#isStopping ? [] : [this.#stopped.promise])]);
  }

  /** Repeats an act until it succeeds, with jittered pauses. @throws what no repetition can mend. */
  async #persist<T>(act: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; failures++) {
      try {
        const result = await act();
        if (failures > 0) this.#recover();
        return result;
      } catch (error) {
        // An archive that has never worked is a mistake in its settings.
        const isMistake = error instanceof ArchiveUnusable && !this.#options.claims.read();
        if (isMistake || isFinal(error) || this.#isOverdue()) throw error;
        if (failures === 0) this.#failing++;
        this.#options.onProblem(error instanceof Error ? error.message : String(error));
      }
      await this.#pause(Math.min(retryMsMax, firstRetryMs * 2 ** Math.min(failures, 20)));
    }
  }

  #recover(): void {
    this.#failing--;
    if (this.#failing === 0) this.#options.onProblem(undefined);
  }

  async #pause(msMax: number): Promise<void> {
    const { random, sleep, elapsedMs } = this.#options.clock;
    const slept = sleep(Math.min(msMax * random(), this.#stopBy - elapsedMs()));
    await (this.#isStopping ? slept : Promise.race([slept, this.#stopped.promise]));
  }
}

function isFinal(error: unknown): boolean {
  return error instanceof TakenOver || error instanceof LogDamaged;
}
