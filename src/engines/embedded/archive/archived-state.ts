import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

import type { LogPosition } from '../log/frame.ts';
import { RemovalNotRecorded } from '../log/recovery.ts';
import { checkExists, openDatabase } from '../store/schema.ts';
import { readProgressRow } from '../store/progress-row.ts';
import { writeDurably } from '../tokens/token-marker.ts';
import { compress, nameOf } from './archive-objects.ts';
import type { ObjectStore } from './stores/object-store.ts';
import { ArchiveDamaged, listNumbered, readObject, type ArchiveContent } from './read-archive.ts';

/**
 * Copies what `pipeline.db` has recorded about the removed segments, as the database of a log that
 * begins after them.
 */
const copyBeginning = `
  INSERT INTO counters SELECT * FROM live.removed_counters;
  INSERT INTO removed_counters SELECT * FROM live.removed_counters;
  UPDATE progress SET (log_id, position, removed_through, keys_expired_before, keys_expired_through, run_ms) =
    (SELECT log_id, removed_through, removed_through, keys_expired_before, keys_expired_through, run_ms
      FROM live.progress);
  INSERT INTO dead_letters SELECT * FROM live.dead_letters
    WHERE position < (SELECT removed_through FROM live.progress);
  INSERT INTO idempotency_keys SELECT * FROM live.idempotency_keys
    WHERE position < (SELECT removed_through FROM live.progress);
  INSERT INTO replayed_batches SELECT * FROM live.replayed_batches
    WHERE position < (SELECT removed_through FROM live.progress);
  INSERT OR IGNORE INTO log_ages SELECT * FROM live.log_ages
    WHERE position <= (SELECT removed_through FROM live.progress);
`;

/**
 * Stores the database as of the beginning of the log, whose older segments retention has removed,
 * so that a restore has the counts of these.
 * @param begin where the log in the archive begins.
 * @throws {RemovalNotRecorded} if the database has not recorded it.
 */
export async function shipState(
  store: ObjectStore,
  logId: string,
  databasePath: string,
  begin: LogPosition,
): Promise<void> {
  const { position, bytes } = stateAtBeginning(databasePath);
  if (position < begin) throw new RemovalNotRecorded(begin);
  await store.create(nameOf('state', logId, position), compress(bytes));
}

function stateAtBeginning(databasePath: string): { position: LogPosition; bytes: Buffer } {
  checkExists(databasePath);
  const directory = join(dirname(databasePath), 'archive-state');
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  try {
    const path = join(directory, 'pipeline.db');
    const database = openDatabase(path);
    try {
      database.prepare('ATTACH ? AS live').run(databasePath);
      database.exec(`BEGIN; ${copyBeginning} COMMIT; DETACH live; PRAGMA journal_mode = DELETE`);
      const position = readProgressRow(database)?.removedThrough ?? 0;
      return { position, bytes: readFileSync(path) };
    } finally {
      database.close();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/**
 * Writes the archived database of the beginning of a log to a file.
 * @throws {ArchiveDamaged} if the archive has none.
 */
export async function restoreState(
  store: ObjectStore,
  { logId, begin }: Pick<ArchiveContent, 'logId' | 'begin'>,
  end: LogPosition,
  path: string,
): Promise<void> {
  const state = await stateBetween(store, logId, begin, end);
  if (state === undefined) {
    throw new ArchiveDamaged(
      `${store.url} holds the log only from byte ${begin} on, and no counters of the part before that, or only those of a later time than --until.`,
    );
  }
  writeDurably(path, state, { flag: 'wx', mode: 0o640 });
}

/** The state at a position in this range; undefined if there is none. @throws {ArchiveDamaged} */
export async function stateBetween(
  store: ObjectStore,
  logId: string,
  begin: LogPosition,
  end: LogPosition,
): Promise<Buffer | undefined> {
  for (const { name, number: position } of await listNumbered(store, logId, 'state')) {
    if (position < begin || position > end) continue;
    const object = await store.get(name);
    if (object !== undefined) return readObject(store, name, object);
  }
  return undefined;
}
