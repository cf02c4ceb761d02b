import type { LogPosition } from '../../log/frame.ts';
import { listSegments } from '../../log/segment.ts';
import type { ArchivedSegment } from '../archive-objects.ts';
import type { ArchiverLimits } from './archiver-limits.ts';
import type { MergedPieces } from './merge-segment.ts';
import type { ShippedLog } from './next-piece.ts';
import type { ArchiveContent } from '../read-archive.ts';

/** Segments that still have to be merged, whichever server uploaded them. */
type Unnamed = Omit<MergedPieces, 'claimNumber'>;

interface UnmergedSegment {
  readonly base: LogPosition;
  end: LogPosition;
  at: number;
  lastNumber: number;
  numbers: readonly number[];
  superseded: readonly string[];
  /** Whether the segment has ended and the archive holds all of it. */
  isComplete: boolean;
}

/** The segments of which the archive holds pieces that are not merged yet, in the order of the log. */
export class UnmergedSegments {
  readonly #log: ShippedLog;
  readonly #piecesMax: number;
  readonly #segments = new Map<LogPosition, UnmergedSegment>();
  /** Merged beginnings of segments. */
  readonly #merged: readonly ArchivedSegment[];

  constructor(
    log: ShippedLog,
    { segments, superseded, pieces }: ArchiveContent,
    { unmergedPiecesMax }: Pick<ArchiverLimits, 'unmergedPiecesMax'>,
  ) {
    this.#log = log;
    this.#piecesMax = unmergedPiecesMax;
    this.#merged = [...superseded, ...segments];
    for (const { number, base, to, at } of pieces) this.add(base, to, number, at);
    this.checkComplete();
  }

  /** The first position of an unmerged segment; undefined if there is none. */
  get begin(): LogPosition | undefined {
    return this.#segments.keys().next().value;
  }

  /** Adds a piece of the segment `base`, which ends at `end`. */
  add(base: LogPosition, end: LogPosition, number: number, at: number): void {
    const known = this.#segments.get(base);
    if (known !== undefined) {
      Object.assign(known, { end, at, lastNumber: number, numbers: [...known.numbers, number] });
      return;
    }
    for (const earlier of this.#segments.values()) earlier.isComplete = true;
    const superseded = this.#merged.filter((one) => one.base === base).map(({ name }) => name);
    const place = { base, end, at, lastNumber: number, numbers: [number] };
    this.#segments.set(base, { ...place, superseded, isComplete: false });
  }

  /** Checks whether the last segment has ended: then the next one begins at its end. */
  checkComplete(): void {
    const last = [...this.#segments.values()].at(-1);
    if (last === undefined) return;
    const { fileSystem, directory } = this.#log;
    last.isComplete = listSegments(fileSystem, directory).some(({ base }) => base === last.end);
  }

  /** The first segment that should be merged now. */
  nextDue(): (Unnamed & { readonly isComplete: boolean }) | undefined {
    const due = [...this.#segments.values()].find(
      ({ isComplete, numbers }) => isComplete || numbers.length >= this.#piecesMax,
    );
    return due && { ...due };
  }

  /** Notes that these pieces are merged as the object `name`. */
  noteMerged(
    { base, numbers, isComplete }: ReturnType<typeof this.nextDue> & object,
    name: string,
  ): void {
    const segment = this.#segments.get(base);
    if (segment === undefined) return;
    if (isComplete) {
      this.#segments.delete(base);
      return;
    }
    segment.numbers = segment.numbers.slice(numbers.length);
    segment.superseded = [name];
  }
}
