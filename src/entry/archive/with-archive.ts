import { listLogIds } from '../../engines/embedded/archive/read-archive.ts';
import {
  ArchiveUnusable,
  type ObjectStore,
} from '../../engines/embedded/archive/stores/object-store.ts';
import { openObjectStore } from '../../engines/embedded/archive/stores/open-object-store.ts';
import { retryingStore } from '../../engines/embedded/archive/stores/retrying-store.ts';
import type { ArchivePlace } from './archive-options.ts';

/**
 * Opens an archive, calls `use` with the ids of its logs, or with the given one, and closes it.
 * @throws {ArchiveUnusable} if there is no archive, or not that log.
 */
export async function withArchive<T>(
  { from, logId }: ArchivePlace,
  use: (store: ObjectStore, logIds: readonly string[]) => Promise<T>,
): Promise<T> {
  const store = retryingStore(await openObjectStore(from));
  try {
    const all = await listLogIds(store);
    if (all.length === 0) throw new ArchiveUnusable(`There is no archive at ${store.url}.`);
    if (logId === undefined) return await use(store, all);
    if (all.includes(logId)) return await use(store, [logId]);
    throw new ArchiveUnusable(`${store.url} has no log ${logId}; it holds ${all.join(', ')}.`);
  } finally {
    store.close();
  }
}
