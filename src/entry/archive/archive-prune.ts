import { setTimeout as delay } from 'node:timers/promises';

import {
  findArchivedDirectory,
  ownsClaim,
} from '../../engines/embedded/archive/manage/archived-directory.ts';
import {
  oldSegments,
  removalOf,
  removeOldSegments,
  type Removal,
  type RetentionOptions,
} from '../../engines/embedded/archive/manage/retention.ts';
import {
  probesIn,
  unneededObjects,
} from '../../engines/embedded/archive/manage/unneeded-objects.ts';
import { readArchive } from '../../engines/embedded/archive/read-archive.ts';
import {
  ArchiveUnusable,
  type ObjectStore,
} from '../../engines/embedded/archive/stores/object-store.ts';
import { dayMs } from '../../engines/embedded/options.ts';
import { explainSqliteError } from '../../engines/embedded/store-admin.ts';
import { amountOf } from '../../util/thousands.ts';
import { UsageError } from '../cli/option-parsers.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';
import type { ArchivePlace } from './archive-options.ts';
import { withArchive } from './with-archive.ts';

export interface PruneOptions extends ArchivePlace {
  /** Days. */
  readonly keep?: number;
  readonly dataDir?: string;
  readonly dryRun?: true;
  readonly json?: true;
}

/** A server that starts meanwhile tests the store in less time. */
const probeMs = 60_000;

/** Removes the objects that an archive no longer needs. Returns the exit code. */
export async function archivePrune(options: PruneOptions): Promise<number> {
  const { keep, dataDir, dryRun = false, json = false } = options;
  if ((keep === undefined) !== (dataDir === undefined)) {
    throw new UsageError(
      '--keep and --data-dir belong together: only the data directory has the age of batches, and their counts',
    );
  }
  return await withArchive(options, async (store, logIds) => {
    const removed = [...(await pruneOld(store, options, logIds))];
    for (const logId of logIds) {
      const unneeded = await unneededObjects(store, logId);
      removed.push(...unneeded.filter(({ name }) => removed.every((one) => one.name !== name)));
      if (!dryRun) for (const { name } of unneeded) await store.remove(name);
    }
    removed.push(...(dryRun ? await probesIn(store) : await removeProbes(store)));
    process.stdout.write(json ? `${asJson(removed, dryRun)}\n` : asText(removed, dryRun));
    return 0;
  });
}

/** Removes segments that are older than `--keep`. */
async function pruneOld(
  store: ObjectStore,
  { keep, dataDir, dryRun }: PruneOptions,
  logIds: readonly string[],
): Promise<readonly Removal[]> {
  if (keep === undefined || dataDir === undefined) return [];
  const { paths, logId } = await ownDirectory(store, dataDir);
  if (!logIds.includes(logId)) throw new UsageError(`${dataDir} has the log ${logId}`);
  const retention: RetentionOptions = {
    ...{ store, logId, keepMs: keep * dayMs, databasePath: paths.database },
  };
  try {
    if (dryRun) return (await oldSegments(retention)).map(removalOf);
    return await removeOldSegments(retention);
  } catch (error) {
    throw explainSqliteError(error, dataDir);
  }
}

/** @throws {ArchiveUnusable} unless this directory ships to the archive. */
async function ownDirectory(store: ObjectStore, dataDir: string) {
  const directory = await findArchivedDirectory(store, dataDir);
  const { claim } = await readArchive(store, directory.logId);
  if (ownsClaim(directory, claim)) return directory;
  const server = claim && ` (${claim.host}, ${claim.directory}, since ${claim.claimed_at})`;
  throw new ArchiveUnusable(
    `${directory.paths.root} does not ship to ${store.url}; another data directory does${server ?? ''}. Give that one as --data-dir.`,
  );
}

async function removeProbes(store: ObjectStore): Promise<readonly Removal[]> {
  const found = await probesIn(store);
  if (found.length === 0) return [];
  process.stderr.write(
    `waiting ${probeMs / 1000} s, because a server that starts now needs objects in probe/\n`,
  );
  await delay(probeMs);
  for (const { name } of found) await store.remove(name);
  return found;
}

function asJson(removed: readonly Removal[], isDryRun: boolean): string {
  return jsonText({ dry_run: isDryRun, bytes: bytesOf(removed), removed });
}

function asText(removed: readonly Removal[], isDryRun: boolean): string {
  const lines = removed.map(({ name, why }) => `${visible(name)}: ${why}`);
  const what = isDryRun ? 'would be removed' : 'removed';
  const sum = `${amountOf(removed.length, 'object')} of ${amountOf(bytesOf(removed), 'byte')} ${what}`;
  return `${[...lines, sum].join('\n')}\n`;
}

function bytesOf(removed: readonly Removal[]): number {
  return removed.reduce((sum, { bytes }) => sum + bytes, 0);
}
