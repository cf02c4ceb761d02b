import type { DatabaseSync } from 'node:sqlite';

import type { LogPosition } from '../../log/frame.ts';
import { readProgressRow } from '../../store/progress-row.ts';
import { openCurrentReadOnly } from '../../store/read-only-database.ts';
import type { ArchivedSegment } from '../archive-objects.ts';
import { shipState, stateBetween } from '../archived-state.ts';
import { listNumbered, listSegments, longestOfEach } from '../read-archive.ts';
import type { ObjectStore } from '../stores/object-store.ts';

/** An object that an archive no longer needs. */
export interface Removal {
  readonly name: string;
  /** Size in bytes, as stored. */
  readonly bytes: number;
  /** A short reason. */
  readonly why: string;
}

export interface RetentionOptions {
  readonly store: ObjectStore;
  readonly logId: string;
  /** `pipeline.db` of the server that ships to the archive. */
  readonly databasePath: string;
  /** How long the archive keeps batches, in milliseconds of running time. */
  readonly keepMs: number;
}

/**
 * Plans which segments an archive need not keep.
 *
 * Their age is measured in running time of servers, as for --keep-raw (`LogAge`), and not by the
 * times in the names of the objects: a wall clock that jumps into the future would make all of them
 * old. So a batch stays at least as long as required, and longer if the server was stopped
 * meanwhile. The running time in the database grows only while the log grows.
 *
 * Only segments whose counts the database has in `removed_counters` may be removed, because a
 * restore needs these counts. The last segment stays: its name contains the number at which the
 * tail continues.
 */
export async function oldSegments(options: RetentionOptions): Promise<readonly ArchivedSegment[]> {
  const { store, logId, databasePath, keepMs } = options;
  const listed = await listSegments(store, logId);
  const { segments } = longestOfEach(listed);
  const limit = removableThrough(databasePath, logId, keepMs);
  const old = segments.slice(0, -1).filter(({ end }) => end <= limit);
  // In the order of their names: of one segment, the shorter objects before the whole.
  return listed.filter(({ base }) => old.some((one) => one.base === base));
}

/**
 * Removes old segments, the oldest first, after it has stored their counts in the archive. Then
 * removes the states that these counts replace. Can be repeated after any failure.
 * @throws {ArchiveDamaged} before it has removed anything.
 */
export async function removeOldSegments(options: RetentionOptions): Promise<readonly Removal[]> {
  const { store, logId } = options;
  const old = await oldSegments(options);
  const begin = old.at(-1)?.end;
  if (begin === undefined) return [];
  if (!(await knowsStateAfter(options, begin))) {
    await shipState(store, logId, options.databasePath, begin);
    if (!(await knowsStateAfter(options, begin))) {
      throw new Error(`The state of the log at byte ${begin} is not listed in ${store.url} yet`);
    }
  }
  for (const { name } of old) await store.remove(name);
  const states = await statesBefore(store, logId, begin);
  for (const { name } of states) await store.remove(name);
  return [...old.map(removalOf), ...states];
}

export function removalOf({ name, storedBytes }: ArchivedSegment): Removal {
  return { name, bytes: storedBytes, why: 'older than the time to keep' };
}

/** The states that no restore of a log that begins at `begin` uses. */
export async function statesBefore(
  store: ObjectStore,
  logId: string,
  begin: LogPosition,
): Promise<readonly Removal[]> {
  const states = await listNumbered(store, logId, 'state');
  const why = 'a later state has replaced it';
  return states.flatMap(({ number, ...state }) => (number < begin ? { ...state, why } : []));
}

/**
 * Whether a restore of the log from `begin` on finds the counts of the part before. @throws
 * {ArchiveDamaged}
 */
async function knowsStateAfter(
  { store, logId }: Pick<RetentionOptions, 'store' | 'logId'>,
  begin: LogPosition,
): Promise<boolean> {
  const end = (await listSegments(store, logId)).at(-1)?.end ?? 0;
  return (await stateBetween(store, logId, begin, end)) !== undefined;
}

function removableThrough(databasePath: string, logId: string, keepMs: number): LogPosition {
  const database = openCurrentReadOnly(databasePath);
  try {
    const progress = readProgressRow(database);
    const ownId = progress?.logId && Buffer.from(progress.logId).toString('hex');
    if (progress === undefined || ownId !== logId) return 0;
    return Math.min(progress.removedThrough, positionAtAge(database, keepMs));
  } finally {
    database.close();
  }
}

/** The end of the log's part that is at least `ageMs` old, according to the database. */
function positionAtAge(database: DatabaseSync, ageMs: number): LogPosition {
  const row = database
    .prepare(
      `SELECT max(position) AS position FROM log_ages WHERE run_ms <=
        max((SELECT max(run_ms) FROM progress), (SELECT max(run_ms) FROM log_ages)) - ?`,
    )
    .get(ageMs);
  return Number(row?.['position'] ?? 0);
}
