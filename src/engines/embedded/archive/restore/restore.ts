import { existsSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';

import { makeDirectories } from '../../../../util/directories.ts';
import {
  dataPaths,
  lockFile,
  createDataDirectory,
  restoringName,
  type DataPaths,
} from '../../data-directory.ts';
import { nodeFileSystem } from '../../log/file-system.ts';
import type { LogPosition } from '../../log/frame.ts';
import { openDatabase } from '../../store/schema.ts';
import { requireTokens, writeDurably } from '../../tokens/token-marker.ts';
import { dropReplacedTables, rebuildDataDirectory } from '../../verify/rebuild.ts';
import { restoreState } from '../archived-state.ts';
import { archivedTokens } from '../archived-tokens.ts';
import { archiveStatePath, writeArchiveState } from '../archive-state.ts';
import { ArchiveUnusable, type ObjectStore } from '../stores/object-store.ts';
import { ArchiveDamaged, ClaimLost, onlyLogId, type ArchiveContent } from '../read-archive.ts';
import { restoreArchivedLog } from './restore-log.ts';

interface RestoreOptions {
  readonly store: ObjectStore;
  /** In hexadecimal; undefined if the archive holds only one log. */
  readonly logId: string | undefined;
  /** A directory that is missing, empty, or left by an interrupted restore. */
  readonly dataDir: string;
  /**
   * Restores only the batches before the first one received after this; milliseconds since 1970.
   */
  readonly until: number | undefined;
  /** Restores the log before the first missing or damaged byte, instead of failing. */
  readonly isUpToDamage: boolean;
  /**
   * Called periodically with the bytes of the log read, and then counted, so far, and with the
   * total.
   */
  readonly onProgress: (step: 'reading' | 'counting', bytes: number, total: number) => void;
}

export interface RestoreSummary {
  /** Bytes of the log. */
  readonly bytes: number;
  readonly hasTokens: boolean;
  /** When the last piece was shipped, in ms since 1970; undefined: the log is empty, or cut off. */
  readonly archivedAt: number | undefined;
  /**
   * What was missing or damaged in the archive, and how the restored directory differs as a result.
   */
  readonly warnings: readonly string[];
}

/**
 * Creates a data directory from an archive: the log, the counters that follow from it, and the
 * tokens. Repeated, it continues an interrupted restore.
 * @throws {ArchiveDamaged | ArchiveUnusable}, or an Error that says what is wrong with the
 * directory.
 */
export async function restore(options: RestoreOptions): Promise<RestoreSummary> {
  const paths = dataPaths(options.dataDir);
  const isInterrupted = existsSync(join(paths.root, restoringName));
  if (existsSync(paths.log) || (existsSync(paths.database) && !isInterrupted)) {
    throw new Error(
      `${paths.root} holds a pipeline already. Name another directory with --data-dir.`,
    );
  }
  const { logId = await onlyLogId(options.store) } = options;
  createDataDirectory(paths);
  const lock = lockFile(join(paths.root, 'lock.db'));
  if (lock === undefined) throw new Error(`Another process uses ${paths.root}.`);
  try {
    return await restoreInto(paths, { ...options, logId });
  } finally {
    lock.release();
  }
}

async function restoreInto(
  paths: DataPaths,
  options: RestoreOptions & { readonly logId: string },
): Promise<RestoreSummary> {
  const { store, logId, until, isUpToDamage, onProgress } = options;
  const part = dataPaths(join(paths.root, restoringName));
  begin(part, { url: store.url, logId, until: until ?? null });
  const { content, end, damage, lastReceivedAt } = await restoreArchivedLog({
    ...{ store, logId, until, isUpToDamage, directory: part.log },
    onProgress: (bytes, total) => onProgress('reading', bytes, total),
  }).catch((error: unknown) => {
    throw error instanceof ArchiveDamaged && !isUpToDamage ? withHint(error, upToDamage) : error;
  });
  if (damage !== undefined && end === content.begin) {
    throw withHint(damage, `There is nothing before it to restore. ${salvage}`);
  }
  if (content.next === 0) throw new ArchiveUnusable(`${store.url} has no log ${logId}.`);
  await restoreCounters(part, { ...options, content, end }).catch((error: unknown) => {
    throw error instanceof ArchiveDamaged ? withHint(error, salvage) : error;
  });
  const tokens = await restoreTokens(part, options.store, { logId, isUpToDamage });
  const isWhole = end === content.end && damage === undefined;
  // A log that ends earlier than its archive cannot continue it.
  if (isWhole && content.claim !== undefined) {
    writeArchiveState(archiveStatePath(part), { claims: [content.claim.id] });
  }
  moveInto(paths, part);
  const archivedAt =
    end === content.end ? (content.pieces.at(-1)?.at ?? content.segments.at(-1)?.at) : undefined;
  const ended = damage && warningOf(damage, lastReceivedAt);
  const warnings = [ended, tokens.warning].filter((one) => one !== undefined);
  return { bytes: end - content.begin, hasTokens: tokens.areRestored, archivedAt, warnings };
}

const upToDamage = 'With --up-to-damage, the log is restored up to there.';
/** A replay continues after damaged parts. */
const salvage =
  'To copy the batches that can be read into another directory, use replay --from this archive.';

function withHint({ message, cause }: ArchiveDamaged, hint: string): ArchiveDamaged {
  return new ArchiveDamaged(`${message} ${hint}`, { cause });
}

/** Identifies what a restore restores: a restore of something else must not continue it. */
interface Source {
  readonly url: string;
  readonly logId: string;
  readonly until: number | null;
}

function begin(part: DataPaths, source: Source): void {
  const path = join(part.root, 'source.json');
  const text = `${JSON.stringify(source)}\n`;
  if (existsSync(path)) {
    if (readFileSync(path, 'utf8') === text) return;
    throw new Error(
      `${part.root} is left over from an interrupted restore with another --from, --log-id or --until. Remove it, or repeat that restore.`,
    );
  }
  rmSync(part.root, { recursive: true, force: true });
  makeDirectories(part.log, 0o750);
  writeDurably(path, text, { flag: 'wx', mode: 0o640 });
}

interface CountedLog extends Pick<RestoreOptions, 'store' | 'onProgress'> {
  readonly content: ArchiveContent;
  readonly end: LogPosition;
}

/** Counts the log into a new database, or into that of the beginning of a log that was cut off. */
async function restoreCounters(part: DataPaths, restored: CountedLog): Promise<void> {
  const { store, content, end, onProgress } = restored;
  if (content.end === content.begin) return;
  if (content.begin > 0 && !existsSync(part.database)) {
    await restoreState(store, content, end, part.database);
  }
  const database = openDatabase(part.database);
  try {
    database
      .prepare('UPDATE progress SET log_id = ?, position = ?')
      .run(Buffer.from(content.logId, 'hex'), end);
  } finally {
    database.close();
  }
  dropReplacedTables(part.root);
  rebuildDataDirectory({
    ...{ dataDir: part.root, dryRun: false, withoutDamaged: false, now: Date.now },
    // The counters differ from those of the empty database.
    onDifference: () => undefined,
    onProgress: (bytes, total) =>
      onProgress('counting', bytes - content.begin, total - content.begin),
  });
  dropReplacedTables(part.root);
}

function warningOf(damage: ArchiveDamaged, lastReceivedAt: number | undefined): string {
  const last =
    lastReceivedAt === undefined
      ? ''
      : `, up to the batch that was received at ${new Date(lastReceivedAt).toISOString()}`;
  const held =
    damage instanceof ClaimLost ? '' : ` The restored log has only what is before it${last}.`;
  return `${damage.message}${held} Archive the restored directory to another prefix.`;
}

interface RestoredTokens {
  readonly areRestored: boolean;
  readonly warning?: string;
}

async function restoreTokens(
  part: DataPaths,
  store: ObjectStore,
  { logId, isUpToDamage }: Pick<RestoreOptions, 'isUpToDamage'> & { readonly logId: string },
): Promise<RestoredTokens> {
  try {
    const tokens = await archivedTokens(store, logId);
    if (tokens === undefined) return { areRestored: false };
    rmSync(part.tokens, { force: true });
    writeDurably(part.tokens, tokens, { flag: 'wx', mode: 0o600 });
    requireTokens(part);
    return { areRestored: true };
  } catch (error) {
    if (!(error instanceof ArchiveDamaged)) throw error;
    if (!isUpToDamage)
      throw withHint(error, 'With --up-to-damage, the log is restored without it.');
    // Without the marker, the server would be open to everyone.
    requireTokens(part);
    const warning = `${error.message} The tokens are lost: create new ones (token create) before you start a server.`;
    return { areRestored: false, warning };
  }
}

/** The log last: without it, no server starts. */
function moveInto(paths: DataPaths, part: DataPaths): void {
  const { root } = paths;
  const moved = [part.database, part.tokens, archiveStatePath(part), part.log];
  for (const path of moved.filter((one) => existsSync(one))) {
    nodeFileSystem.rename(path, join(root, basename(path)));
  }
  nodeFileSystem.syncDirectory(root);
  rmSync(part.root, { recursive: true, force: true });
  nodeFileSystem.syncDirectory(root);
}
