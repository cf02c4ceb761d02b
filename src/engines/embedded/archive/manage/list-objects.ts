import { inParallel } from '../../../../util/in-parallel.ts';
import type { LogPosition } from '../../log/frame.ts';
import { readSegmentName, numberIn } from '../archive-objects.ts';
import { ArchiveDamaged, getTail } from '../read-archive.ts';
import type { ObjectStore, StoredObject } from '../stores/object-store.ts';

/** An object of an archive. */
export interface ArchivedObject extends StoredObject {
  /**
   * `damaged`: an object of the tail that cannot be read; `unknown`: not an object of an archive.
   */
  readonly kind:
    'segment' | 'piece' | 'claim' | 'state' | 'tokens' | 'probe' | 'damaged' | 'unknown';
  /** Where in the log its bytes begin and end; claims and states have only the beginning. */
  readonly from?: LogPosition;
  readonly to?: LogPosition;
  /**
   * When the server cut or wrote it, in milliseconds since 1970; undefined if the object does not
   * contain it.
   */
  readonly at?: number;
}

const pageSize = 64;
const readsAtOnce = 16;

/**
 * The objects of an archive in the order of their names, a page at a time: of one log, or all.
 * Reads the objects of the tail, because their names do not show what they hold.
 */
export async function* listObjects(
  store: ObjectStore,
  logId: string | undefined,
): AsyncGenerator<readonly ArchivedObject[]> {
  let page: StoredObject[] = [];
  const describe = (one: StoredObject) => describeObject(store, one);
  for await (const object of store.list(logId === undefined ? '' : `${logId}/`)) {
    page.push(object);
    if (page.length < pageSize) continue;
    yield defined(await inParallel(readsAtOnce, page, describe));
    page = [];
  }
  yield defined(await inParallel(readsAtOnce, page, describe));
}

/** Undefined if a merge has removed it since it was listed. */
async function describeObject(
  store: ObjectStore,
  object: StoredObject,
): Promise<ArchivedObject | undefined> {
  const { name, bytes } = object;
  const segment = readSegmentName(name, bytes);
  if (segment !== undefined) {
    const { base: from, end: to, at } = segment;
    return { ...object, kind: 'segment', from, to, at };
  }
  const state = numberIn('state', name);
  if (state !== undefined) return { ...object, kind: 'state', from: state };
  if (numberIn('tokens', name) !== undefined) return { ...object, kind: 'tokens' };
  const number = numberIn('tail', name);
  if (number !== undefined) return await describeTail(store, object, number);
  return { ...object, kind: name.startsWith('probe/') ? 'probe' : 'unknown' };
}

async function describeTail(
  store: ObjectStore,
  object: StoredObject,
  number: number,
): Promise<ArchivedObject | undefined> {
  try {
    const found = await getTail(store, object.name.slice(0, object.name.indexOf('/')), number);
    if (found === undefined) return undefined;
    const { kind, from } = found;
    if (kind === 'claim') return { ...object, kind, from, at: Date.parse(found.claimed_at) };
    return { ...object, kind, from, to: found.to, at: found.at };
  } catch (error) {
    if (!(error instanceof ArchiveDamaged)) throw error;
    return { ...object, kind: 'damaged' };
  }
}

function defined<T>(values: readonly (T | undefined)[]): T[] {
  return values.filter((value) => value !== undefined);
}
