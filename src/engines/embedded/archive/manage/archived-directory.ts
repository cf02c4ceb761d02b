import { dataPaths, type DataPaths } from '../../data-directory.ts';
import { nodeFileSystem } from '../../log/file-system.ts';
import { readLogIdentity } from '../../log/segment.ts';
import { dayZoneOf } from '../../store/raw-batches.ts';
import { archiveStatePath, readArchiveState } from '../archive-state.ts';
import type { Claim } from '../archive-objects.ts';
import { listLogIds } from '../read-archive.ts';
import { ArchiveUnusable, type ObjectStore } from '../stores/object-store.ts';

/** A data directory whose log an archive holds. */
interface ArchivedDirectory {
  readonly paths: DataPaths;
  readonly logId: string;
}

/**
 * Finds the log of a data directory in an archive.
 * @throws {ArchiveUnusable} if the archive does not hold it; an Error if there is no log.
 */
export async function findArchivedDirectory(
  store: ObjectStore,
  dataDir: string,
): Promise<ArchivedDirectory> {
  const paths = dataPaths(dataDir);
  // Names the directory if it has no log.
  dayZoneOf(dataDir);
  const logId = readLogIdentity(nodeFileSystem, paths.log)?.logId.toString('hex') ?? '';
  const others = await listLogIds(store);
  if (others.includes(logId)) return { paths, logId };
  const held = others.length === 0 ? 'no log' : others.join(', ');
  throw new ArchiveUnusable(
    `${store.url} does not hold the log of ${paths.root} (${logId}); it holds ${held}. Name an archive and a data directory that belong together.`,
  );
}

/** Whether this data directory is the one that ships to the archive, rather than a copy of it. */
export function ownsClaim({ paths }: ArchivedDirectory, claim: Claim | undefined): boolean {
  const claims = readArchiveState(archiveStatePath(paths))?.claims ?? [];
  return claim !== undefined && claims.includes(claim.id);
}
