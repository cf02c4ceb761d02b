import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { backup, type DatabaseSync } from 'node:sqlite';

import { makeDirectories } from '../../../util/directories.ts';
import { dataPaths, type DataPaths } from '../data-directory.ts';
import { nodeFileSystem, openIfExists, withFile, type LogFile } from '../log/file-system.ts';
import type { LogPosition } from '../log/frame.ts';
import { LogReader } from '../log/log-reader.ts';
import { LogDamaged } from '../log/recovery.ts';
import {
  headerBytesOf,
  listSegments,
  readLogIdentity,
  headerBytesMax,
  writeFully,
  type Segment,
} from '../log/segment.ts';
import { openDatabaseReadOnly } from '../store/read-only-database.ts';
import { areTokensRequired, requireTokens } from '../tokens/token-marker.ts';

interface BackupOptions {
  readonly dataDir: string;
  /** The target directory, which must be missing or empty. */
  readonly directory: string;
  /** Called periodically with the number of bytes copied, and of approximately all to copy. */
  readonly onProgress: (bytes: number, total: number) => void;
}

interface BackupSummary {
  readonly bytes: number;
  readonly hasTokens: boolean;
}

/** If retention removes a segment that is to be copied, the backup starts again with the database. */
const attemptsMax = 5;
/** 4 MiB of SQLite's pages. */
const pagesAtOnce = 1024;
const pieceBytes = 1024 * 1024;

/**
 * Copies a data directory, also while a server runs, into one from which a server can start: one state
 * of the database, the log at least up to that state's position, and the tokens. Until the copy is
 * complete and durable, its log is called `log.part`, so that no server starts on it.
 * @throws an Error whose message says what is wrong, after it has removed what was written.
 */
export async function backUp(options: BackupOptions): Promise<BackupSummary> {
  const from = dataPaths(options.dataDir);
  const to = dataPaths(options.directory);
  const part = join(to.root, 'log.part');
  // Check that there is something to copy before creating anything.
  openDatabaseReadOnly(from.database).close();
  try {
    makeDirectories(part, 0o750);
    const copy = new DirectoryCopy({ from, to, part, onProgress: options.onProgress });
    await copy.run();
    const hasTokens = copyTokens(from, { ...to, log: part });
    nodeFileSystem.syncDirectory(part);
    nodeFileSystem.rename(part, to.log);
    nodeFileSystem.syncDirectory(to.root);
    nodeFileSystem.syncDirectory(dirname(to.root));
    return { bytes: copy.bytes, hasTokens };
  } catch (error) {
    for (const path of [part, to.database, `${to.database}-journal`, to.tokens]) {
      rmSync(path, { recursive: true, force: true });
    }
    if (error instanceof LogDamaged) throw error;
    const { message, code, errcode } = error as NodeJS.ErrnoException & { errcode?: number };
    const failure = new Error(`The backup in ${to.root} could not be created: ${message}`, {
      cause: error,
    });
    // The command line chooses its advice by this code.
    const codes = errcode === undefined ? { code } : { code, errcode };
    throw code === undefined ? failure : Object.assign(failure, codes);
  }
}

/** Retention has removed a segment that was to be copied. */
class SegmentRemoved extends Error {
  override readonly name = 'SegmentRemoved';
}

interface CopyPlace extends Pick<BackupOptions, 'onProgress'> {
  readonly from: DataPaths;
  readonly to: DataPaths;
  /** The directory of the log's copy. */
  readonly part: string;
}

class DirectoryCopy {
  readonly #place: CopyPlace;
  /** Completely copied segments, by base; they do not change any more. */
  readonly #closed = new Set<LogPosition>();
  #total = 0;
  #bytes = 0;

  constructor(place: CopyPlace) {
    this.#place = place;
  }

  get bytes(): number {
    return this.#bytes;
  }

  async run(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      // Copy the database first: the copy of the log must contain all records that it has counted.
      const { position, removedThrough } = await this.#copyDatabase();
      try {
        this.#copyLog(position, removedThrough);
        return;
      } catch (error) {
        if (!(error instanceof SegmentRemoved) || attempt === attemptsMax) throw error;
      }
    }
  }

  async #copyDatabase(): Promise<{ position: LogPosition; removedThrough: LogPosition }> {
    const path = this.#place.to.database;
    rmSync(path, { force: true });
    const database = openDatabaseReadOnly(this.#place.from.database);
    try {
      // Copy in a read transaction: otherwise SQLite restarts the copy after each change.
      database.exec('BEGIN');
      const place = placeOf(database);
      const { bytes, pageBytes } = sizeOf(database);
      const end = this.#bytes + bytes;
      this.#total = end + this.#logBytes(place.removedThrough);
      await backup(database, path, {
        rate: pagesAtOnce,
        progress: ({ remainingPages }) =>
          this.#place.onProgress(end - remainingPages * pageBytes, this.#total),
      });
      this.#add(bytes);
      syncFile(path);
      return place;
    } finally {
      database.close();
    }
  }

  #logBytes(from: LogPosition): number {
    const segments = listSegments(nodeFileSystem, this.#place.from.log);
    const last = segments.at(-1);
    const isCopied = segments.filter(({ base }) => this.#closed.has(base)).at(-1)?.base ?? from;
    return last === undefined ? 0 : Math.max(0, last.base + fileSize(last) - isCopied);
  }

  /** Copies the log up to the end of its last valid record. */
  #copyLog(counted: LogPosition, removedThrough: LogPosition): void {
    using reader = new LogReader(nodeFileSystem, this.#place.from.log);
    const end = reader.endFrom(counted);
    const identity = readLogIdentity(nodeFileSystem, this.#place.from.log);
    const headerBytes = identity === undefined ? headerBytesMax : headerBytesOf(identity);
    const segments = listSegments(nodeFileSystem, this.#place.from.log);
    const begin = segments[0]?.base ?? Number.POSITIVE_INFINITY;
    if (begin > removedThrough) {
      throw new SegmentRemoved(
        `the log begins at byte ${begin}, not at byte ${removedThrough}: files of ${this.#place.from.log} are missing. Run audit to see which batches are lost.`,
      );
    }
    for (const [index, segment] of segments.entries()) {
      const next = segments[index + 1]?.base ?? Number.POSITIVE_INFINITY;
      // A leftover of removed segments.
      if (next <= removedThrough || this.#closed.has(segment.base)) continue;
      if (segment.base >= end && index > 0) break;
      const bytes = Math.max(headerBytes, Math.min(end, next) - segment.base);
      this.#copySegment(segment, bytes);
      if (next <= end) this.#closed.add(segment.base);
    }
  }

  #copySegment(segment: Segment, bytes: number): void {
    const { path } = segment;
    const copyPath = join(this.#place.part, path.slice(this.#place.from.log.length + 1));
    rmSync(copyPath, { force: true });
    const file = openIfExists(nodeFileSystem, path);
    if (file === undefined) {
      throw new SegmentRemoved(`${path} was removed during the backup. Run backup again.`);
    }
    try {
      withFile(nodeFileSystem, copyPath, (copy) => this.#copyFile(file, copy, bytes), 'create');
    } finally {
      file.close();
    }
  }

  #copyFile(file: LogFile, copy: LogFile, bytes: number): void {
    const piece = Buffer.allocUnsafe(Math.min(bytes, pieceBytes));
    for (let at = 0; at < bytes;) {
      const read = file.read(piece.subarray(0, Math.min(piece.length, bytes - at)), at);
      // The file is too short: audit reports such damage.
      if (read === 0) break;
      writeFully(copy, piece.subarray(0, read), at);
      at += read;
      this.#add(read);
    }
    copy.sync();
  }

  #add(bytes: number): void {
    this.#bytes += bytes;
    this.#place.onProgress(this.#bytes, Math.max(this.#total, this.#bytes));
  }
}

/** Also reads earlier schema versions, because a backup precedes an upgrade. */
function placeOf(database: DatabaseSync): { position: LogPosition; removedThrough: LogPosition } {
  const row = database.prepare('SELECT * FROM progress').get();
  return {
    position: Number(row?.['position'] ?? 0),
    removedThrough: Number(row?.['removed_through'] ?? 0),
  };
}

function sizeOf(database: DatabaseSync): { bytes: number; pageBytes: number } {
  const pages = Number(database.prepare('PRAGMA page_count').get()?.['page_count']);
  const pageBytes = Number(database.prepare('PRAGMA page_size').get()?.['page_size']);
  return { bytes: pages * pageBytes, pageBytes };
}

/** Returns whether there are tokens. */
function copyTokens(from: DataPaths, to: DataPaths): boolean {
  const hasFile = existsSync(from.tokens);
  if (hasFile) {
    writeFileSync(to.tokens, readFileSync(from.tokens), { mode: 0o600, flag: 'wx' });
    chmodSync(to.tokens, 0o600);
    syncFile(to.tokens);
  }
  if (hasFile || areTokensRequired(from)) {
    requireTokens({ ...to, tokensRequired: join(to.log, basename(from.tokensRequired)) });
  }
  return hasFile;
}

function fileSize({ path }: Segment): number {
  return withFile(nodeFileSystem, path, (file) => file.size());
}

function syncFile(path: string): void {
  withFile(nodeFileSystem, path, (file) => file.sync(), 'read-write');
}
