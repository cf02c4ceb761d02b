import { inParallel } from '../../../../util/in-parallel.ts';
import type { LogPosition } from '../../log/frame.ts';
import { nameOf } from '../archive-objects.ts';
import {
  ArchiveDamaged,
  getTail,
  listNumbered,
  readArchive,
  type ArchiveContent,
} from '../read-archive.ts';
import type { ObjectStore, StoredObject } from '../stores/object-store.ts';
import { checkObject } from './check-object.ts';
import { statesBefore, type Removal } from './retention.ts';

const readsAtOnce = 16;
const attemptsMax = 3;

/**
 * The objects of a log's archive that no restore reads: pieces and shorter objects of segments that
 * interrupted merges left, and earlier copies of the tokens and of the state. Never claims: an
 * earlier server that is still running must find that the names it would write next are taken.
 * @throws {ArchiveDamaged} if a segment that holds the same bytes is damaged.
 */
export async function unneededObjects(
  store: ObjectStore,
  logId: string,
): Promise<readonly Removal[]> {
  const { content, merged } = await mergedObjects(store, logId);
  return [
    ...merged.map(({ name, bytes, why }) => ({ name, bytes, why })),
    ...(await statesBefore(store, logId, content.begin)),
    ...(await earlierTokens(store, logId)),
  ];
}

async function mergedObjects(store: ObjectStore, logId: string) {
  for (let attempt = 1; ; attempt++) {
    const content = await readArchive(store, logId);
    const merged = [...(await mergedPieces(store, content)), ...shorterObjects(content)];
    const bases = new Set(merged.map((one) => one.base));
    try {
      for (const base of bases) await requireSound(store, content, base);
      return { content, merged };
    } catch (error) {
      // A merge may have replaced a segment since it was listed.
      if (!(error instanceof ArchiveDamaged) || attempt === attemptsMax) throw error;
    }
  }
}

/** Removes them. @throws {ArchiveDamaged} before it has removed anything. */
export async function removeUnneeded(store: ObjectStore, logId: string): Promise<void> {
  for (const { name } of await unneededObjects(store, logId)) await store.remove(name);
}

/** Objects left by servers that were killed while they tested a store. */
export async function probesIn(store: ObjectStore): Promise<readonly Removal[]> {
  const why = 'left by a server that was killed at its start';
  return (await Array.fromAsync(store.list('probe/'))).map((object) => ({ ...object, why }));
}

interface MergedObject extends Removal {
  /** The name of the segment that holds the same bytes. */
  readonly base: LogPosition;
}

async function mergedPieces(store: ObjectStore, content: ArchiveContent): Promise<MergedObject[]> {
  const { logId, earlier } = content;
  const listed = await listNumbered(store, logId, 'tail');
  const sizes = new Map(listed.map(({ name, bytes }) => [name, bytes]));
  const found = await inParallel(readsAtOnce, earlier, async (number) => {
    const tail = await getTail(store, logId, number);
    if (tail?.kind !== 'piece') return [];
    const name = nameOf('tail', logId, number);
    return [{ name, bytes: sizes.get(name) ?? 0, why: 'merged into a segment', base: tail.base }];
  });
  return found.flat();
}

function shorterObjects({ superseded }: ArchiveContent): MergedObject[] {
  return superseded.map(({ name, storedBytes: bytes, base }) => {
    return { name, bytes, why: 'a longer object holds the same segment', base };
  });
}

async function requireSound(
  store: ObjectStore,
  { logId, segments }: ArchiveContent,
  base: LogPosition,
): Promise<void> {
  const segment = segments.find((one) => one.base === base);
  // Retention has removed it; or it was never in the archive, because the piece was uploaded late
  // by a server that had a successor. The segments have no gap, otherwise `readArchive` would have
  // thrown.
  if (segment === undefined) return;
  const object: StoredObject = { name: segment.name, bytes: segment.storedBytes };
  const checked = await checkObject({ store, logId, isCounting: false }, object);
  const isSound = checked.findings.length === 0 && !checked.isMissing && !checked.isUnreadable;
  if (isSound) return;
  throw new ArchiveDamaged(
    `${object.name} in ${store.url} is damaged, so nothing is removed. Run archive verify.`,
  );
}

async function earlierTokens(store: ObjectStore, logId: string): Promise<Removal[]> {
  const copies = await listNumbered(store, logId, 'tokens');
  const why = 'a later copy of the tokens has replaced it';
  return copies.slice(0, -1).map(({ name, bytes }) => ({ name, bytes, why }));
}
