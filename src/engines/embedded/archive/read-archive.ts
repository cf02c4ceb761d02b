import { inParallel } from '../../../util/in-parallel.ts';
import type { LogPosition } from '../log/frame.ts';
import {
  decodeTail,
  decompress,
  readSegmentName,
  nameOf,
  numberIn,
  type ArchivedSegment,
  type Claim,
  type NumberedKind,
  type Piece,
  type PieceHeader,
  type TailObject,
} from './archive-objects.ts';
import { ArchiveUnusable, type ObjectStore } from './stores/object-store.ts';

/** A piece without its bytes: an archive may hold many that are not merged yet. */
export interface NumberedPiece extends PieceHeader {
  readonly number: number;
}

/** The part of a log in an archive, from `begin` to `end` without a gap. */
export interface ArchiveContent {
  readonly logId: string;
  readonly begin: LogPosition;
  readonly end: LogPosition;
  /** Merged segments, by base. The last one may be the beginning of a segment. */
  readonly segments: readonly ArchivedSegment[];
  /** The pieces after them, in order. */
  readonly pieces: readonly NumberedPiece[];
  /** The number of the next object of the tail. */
  readonly next: number;
  /** The last server's claim; undefined if the archive is empty, or has lost it. */
  readonly claim: (Claim & { readonly number: number }) | undefined;
  /** Shorter objects of these segments, which no merge has removed yet. */
  readonly superseded: readonly ArchivedSegment[];
  /** The numbers of the tail before `pieces`: earlier claims, and pieces that no merge has removed yet. */
  readonly earlier: readonly number[];
  /**
   * Why it ends at `end`, although the archive had more of the log; undefined if nothing is missing
   * or damaged.
   */
  readonly damage: ArchiveDamaged | undefined;
}

/** A part of the log that the archive had is missing or unreadable. */
export class ArchiveDamaged extends Error {
  override readonly name = 'ArchiveDamaged';
}

/** Only claims are lost, and no part of the log. */
export class ClaimLost extends ArchiveDamaged {
  constructor({ message, cause }: ArchiveDamaged) {
    super(`${message} It was a claim, which holds no part of the log.`, { cause });
  }
}

/** The content of an object. @throws {ArchiveDamaged} */
export function readObject(store: ObjectStore, name: string, object: Uint8Array): Buffer {
  try {
    return decompress(object);
  } catch (error) {
    throw new ArchiveDamaged(`${name} in ${store.url} is damaged.`, { cause: error });
  }
}

/** The ids of the logs in an archive, in hexadecimal. */
export async function listLogIds(store: ObjectStore): Promise<string[]> {
  const ids = new Set<string>();
  // One at a time: an archive may hold very many objects.
  for await (const { name } of store.list('')) {
    const id = /^([0-9a-f]{32})\/(?:tail|log)\//.exec(name)?.[1];
    if (id !== undefined) ids.add(id);
  }
  return [...ids];
}

/** The id of the only log in an archive. @throws {ArchiveUnusable} if there is none, or several. */
export async function onlyLogId(store: ObjectStore): Promise<string> {
  const [id, ...others] = await listLogIds(store);
  if (id === undefined) throw new ArchiveUnusable(`There is no archive at ${store.url}.`);
  if (others.length === 0) return id;
  throw new ArchiveUnusable(
    `${store.url} holds ${others.length + 1} logs (${[id, ...others].join(', ')}). Name one with --log-id; archive status --from ${store.url} shows what each holds.`,
  );
}

/**
 * Reads what an archive holds of a log, also while a server ships to it. Reads the tail by number,
 * so that objects missing from an outdated listing are found.
 * @throws {ArchiveDamaged}
 */
export async function readArchive(store: ObjectStore, logId: string): Promise<ArchiveContent> {
  const content = await readContent(store, logId, false);
  if (content.damage !== undefined) throw content.damage;
  return content;
}

/**
 * Reads an archive as `readArchive` does, but up to the first missing or damaged piece or segment,
 * and past missing or damaged claims.
 */
export function readUpToDamage(store: ObjectStore, logId: string): Promise<ArchiveContent> {
  return readContent(store, logId, true);
}

async function readContent(
  store: ObjectStore,
  logId: string,
  isPastClaims: boolean,
): Promise<ArchiveContent> {
  let listed = await listSegments(store, logId);
  for (let attempt = 1; ; attempt++) {
    const content = await readTailAfter(store, logId, { listed, isPastClaims });
    // A merge has removed pieces meanwhile: their content is in a new segment.
    const before = namesOf(listed);
    listed = await listSegments(store, logId);
    const isCurrent =
      content.damage === undefined
        ? listed.every(({ lastNumber }) => lastNumber < content.next)
        : namesOf(listed) === before;
    if (isCurrent) return content;
    if (attempt === attemptsMax) throw new Error(`${store.url} changes faster than it can be read`);
  }
}

const attemptsMax = 10;
const readsAtOnce = 16;

export async function listSegments(store: ObjectStore, logId: string): Promise<ArchivedSegment[]> {
  const listed = await Array.fromAsync(store.list(`${logId}/log/`));
  return listed.flatMap(({ name, bytes }) => readSegmentName(name, bytes) ?? []);
}

/** The objects of a kind, in the order of the numbers in their names. */
export async function listNumbered(store: ObjectStore, logId: string, kind: NumberedKind) {
  const listed = await Array.fromAsync(store.list(`${logId}/${kind}/`));
  return listed.flatMap((object) => {
    const number = numberIn(kind, object.name);
    return number === undefined ? [] : [{ ...object, number }];
  });
}

async function readTailAfter(
  store: ObjectStore,
  logId: string,
  {
    listed,
    isPastClaims,
  }: { readonly listed: readonly ArchivedSegment[]; readonly isPastClaims: boolean },
): Promise<ArchiveContent> {
  const { segments, superseded } = longestOfEach(listed);
  const gap = gapAfter(segments);
  const whole = segments.slice(0, gap);
  const last = whole.at(-1);
  const mergedThrough = last?.lastNumber ?? -1;
  const numbers = (await listNumbered(store, logId, 'tail')).map(({ number }) => number);
  const tail =
    gap === undefined
      ? await new TailReader(store, logId, numbers).read(last, isPastClaims)
      : endedBy(missingBetween(store, segments, gap), last);
  return {
    ...{ logId, segments: whole, superseded, ...tail },
    begin: whole[0]?.base ?? tail.begin,
    earlier: numbers.filter((number) => number <= mergedThrough),
  };
}

function namesOf(segments: readonly ArchivedSegment[]): string {
  return segments.map(({ name }) => name).join();
}

/** The longest of the objects with the same base, and the others. */
export function longestOfEach(listed: readonly ArchivedSegment[]) {
  const byBase = new Map<LogPosition, ArchivedSegment>();
  for (const segment of listed) {
    const known = byBase.get(segment.base);
    if (known === undefined || segment.end > known.end) byBase.set(segment.base, segment);
  }
  const segments = [...byBase.values()].sort((a, b) => a.base - b.base);
  return { segments, superseded: listed.filter((one) => byBase.get(one.base) !== one) };
}

/** The number of segments before the first gap; undefined if there is none. */
function gapAfter(segments: readonly ArchivedSegment[]): number | undefined {
  const index = segments.findIndex(({ base }, at) => at > 0 && base !== segments[at - 1]?.end);
  return index < 0 ? undefined : index;
}

function missingBetween(
  store: ObjectStore,
  segments: readonly ArchivedSegment[],
  gap: number,
): ArchiveDamaged {
  const [before, after] = [segments[gap - 1], segments[gap]];
  return new ArchiveDamaged(
    `${store.url} has no object with bytes ${before?.end} to ${after?.base} of the log, after ${before?.name}.`,
  );
}

function endedBy(damage: ArchiveDamaged, last: ArchivedSegment | undefined): Tail {
  const [end, next] = [last?.end ?? 0, (last?.lastNumber ?? -1) + 1];
  return { begin: end, end, next, pieces: [], claim: undefined, damage };
}

type Tail = Pick<ArchiveContent, 'begin' | 'end' | 'next' | 'pieces' | 'claim' | 'damage'>;

interface TailWalk {
  /** The number of the next object. */
  number: number;
  begin: LogPosition | undefined;
  end: LogPosition;
  readonly pieces: NumberedPiece[];
  claim: ArchiveContent['claim'];
}

type Found = Claim | NumberedPiece | ArchiveDamaged | undefined;

class TailReader {
  readonly #store: ObjectStore;
  readonly #logId: string;
  readonly #listed: readonly number[];
  readonly #found = new Map<number, Found>();

  constructor(store: ObjectStore, logId: string, listed: readonly number[]) {
    this.#store = store;
    this.#logId = logId;
    this.#listed = listed;
  }

  async read(merged: ArchivedSegment | undefined, isPastClaims: boolean): Promise<Tail> {
    const walk: TailWalk = {
      ...{ number: (merged?.lastNumber ?? -1) + 1, begin: merged?.end, end: merged?.end ?? 0 },
      ...{ pieces: [], claim: undefined },
    };
    let damage: ArchiveDamaged | undefined;
    for (;;) {
      try {
        await this.#follow(walk);
        break;
      } catch (error) {
        if (!(error instanceof ArchiveDamaged)) throw error;
        const next = isPastClaims ? await this.#continuation(walk) : undefined;
        damage = next === undefined ? error : new ClaimLost(error);
        if (next === undefined) break;
        walk.number = next;
      }
    }
    const { begin = 0, end, number: next, pieces } = walk;
    const claim = walk.claim ?? (await this.#claimOf(merged));
    if (claim instanceof ArchiveDamaged) damage ??= new ClaimLost(claim);
    const known = claim instanceof ArchiveDamaged ? undefined : claim;
    return { begin, end, next, pieces, claim: known, damage };
  }

  /** @throws {ArchiveDamaged} at the first object that is damaged, or existed and is missing. */
  async #follow(walk: TailWalk): Promise<void> {
    for (;;) {
      const found = await this.#get(walk.number);
      if (found === undefined) break;
      if (walk.begin !== undefined && found.from !== walk.end) throw this.#misplaced(walk.number);
      walk.begin ??= found.from;
      if (found.kind === 'claim') {
        walk.claim = { ...found, number: walk.number };
        walk.end = found.from;
        walk.number = found.next;
      } else {
        walk.pieces.push(found);
        walk.end = found.to;
        walk.number++;
      }
    }
    await this.#checkNoneMissing(walk.number);
  }

  /**
   * The number of a later object that begins where the log ends so far. It shows that the missing
   * or damaged object before it was a claim, which holds no part of the log: a piece is never
   * empty. Nor is it a late piece of an earlier server: the piece before that would have taken the
   * claim's name.
   */
  async #continuation({ number, end }: TailWalk): Promise<number | undefined> {
    for (const later of this.#listed.filter((one) => one > number)) {
      const found = await this.#find(later);
      if (found !== undefined && !(found instanceof ArchiveDamaged) && found.from === end)
        return later;
    }
    return undefined;
  }

  /** @throws {ArchiveDamaged} */
  async #get(number: number): Promise<Claim | NumberedPiece | undefined> {
    if (!this.#found.has(number)) await this.#readFrom(number);
    const found = this.#found.get(number);
    if (found instanceof ArchiveDamaged) throw found;
    return found;
  }

  /** Reads some objects concurrently; keeps no bytes of pieces, and discards earlier objects. */
  async #readFrom(first: number): Promise<void> {
    this.#found.clear();
    const listed = this.#listed.filter((number) => number > first);
    await inParallel(readsAtOnce, [first, ...listed.slice(0, readsAtOnce - 1)], async (number) => {
      this.#found.set(number, await this.#find(number));
    });
  }

  async #find(number: number): Promise<Found> {
    try {
      const found = await getTail(this.#store, this.#logId, number);
      return found?.kind === 'piece' ? headerOf(found, number) : found;
    } catch (error) {
      if (error instanceof ArchiveDamaged) return error;
      throw error;
    }
  }

  /**
   * Objects after a missing one come from uploads in flight when a server ended, or prove that the
   * missing one existed.
   */
  async #checkNoneMissing(missing: number): Promise<void> {
    for (const number of this.#listed.filter((one) => one > missing)) {
      const found = await this.#get(number);
      const wasThere = found?.kind === 'claim' || (found?.confirmed ?? 0) > missing;
      if (!wasThere) continue;
      throw new ArchiveDamaged(
        `${nameOf('tail', this.#logId, missing)} is missing in ${this.#store.url}, although it existed when ${nameOf('tail', this.#logId, number)} was created.`,
      );
    }
  }

  /**
   * The claim of the server that created the last segment, if no other follows. Not taken from a
   * listing, which may be out of date, or show a claim that was created too late to count; see
   * `isInTime`.
   */
  async #claimOf(
    last: ArchivedSegment | undefined,
  ): Promise<ArchiveContent['claim'] | ArchiveDamaged> {
    if (last === undefined) return undefined;
    const found = await this.#find(last.claimNumber);
    if (found instanceof ArchiveDamaged) return found;
    return found?.kind === 'claim' ? { ...found, number: last.claimNumber } : undefined;
  }

  #misplaced(number: number): ArchiveDamaged {
    const name = nameOf('tail', this.#logId, number);
    return new ArchiveDamaged(
      `${name} in ${this.#store.url} does not follow the object before it.`,
    );
  }
}

function headerOf(piece: Piece, number: number): NumberedPiece {
  const { kind, claim, base, from, to, confirmed, at } = piece;
  return { kind, claim, base, from, to, confirmed, at, number };
}

/** The bytes of a piece; undefined if a merge has removed it meanwhile. @throws {ArchiveDamaged} */
export async function bytesOfPiece(
  store: ObjectStore,
  logId: string,
  { number }: NumberedPiece,
): Promise<Uint8Array | undefined> {
  const found = await getTail(store, logId, number);
  return found?.kind === 'piece' ? found.bytes : undefined;
}

/** @returns undefined if there is no object. @throws {ArchiveDamaged} */
export async function getTail(
  store: ObjectStore,
  logId: string,
  number: number,
): Promise<TailObject | undefined> {
  const name = nameOf('tail', logId, number);
  const object = await store.get(name);
  if (object === undefined) return undefined;
  try {
    return decodeTail(object);
  } catch (error) {
    throw new ArchiveDamaged(`${name} in ${store.url} is damaged.`, { cause: error });
  }
}

/**
 * Whether a claim that was just created under a number counts. An earlier server may have used the
 * number for a piece before, and removed the piece after a merge, so that the name was free again.
 * Readers then never reach that number.
 */
export async function isInTime(
  store: ObjectStore,
  logId: string,
  number: number,
): Promise<boolean> {
  const segments = await listSegments(store, logId);
  return segments.every(({ lastNumber }) => lastNumber < number);
}
