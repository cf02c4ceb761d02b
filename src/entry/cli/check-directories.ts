import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';

import { dataPaths } from '../../engines/embedded/data-directory.ts';
import { UsageError } from './option-parsers.ts';
import type { ReplayOptions } from '../replay/replay-options.ts';

/** The list of batches; `raw export` writes it last, so its presence marks a complete export. */
export function exportListOf(directory: string): string {
  return join(directory, 'batches.ndjson');
}

export function holdsExport(directory: string): boolean {
  return existsSync(exportListOf(directory));
}

/** The path without symbolic links; the given path if it does not exist. */
function realPathIfExists(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    // Opening the file later reports the error.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return resolve(path);
  }
}

function holdsPipeline(directory: string): boolean {
  const { log, database } = dataPaths(directory);
  return existsSync(log) || existsSync(database);
}

/**
 * @throws {UsageError} if the directory is a data directory: it would be unclear which of both replay
 *   reads.
 */
export function checkExportDirectory(directory: string): void {
  if (!holdsPipeline(directory)) return;
  throw new UsageError(`${directory} is a data directory. Choose another directory for the export`);
}

/** @throws {UsageError} if the target is not empty, or lies within the data directory. */
export function checkBackupDirectory(dataDir: string, directory: string): void {
  const path = resolve(directory);
  const stats = statSync(path, { throwIfNoEntry: false });
  // The root of an ext file system holds lost+found.
  const isEmpty = () => readdirSync(path).every((name) => name === 'lost+found');
  if (stats !== undefined && !(stats.isDirectory() && isEmpty())) {
    const what = stats.isDirectory() ? 'is not empty' : 'is a file';
    throw new UsageError(`${directory} ${what}. Choose a new directory for the backup`);
  }
  const way = relative(realPath(resolve(dataDir)), realPath(path));
  if (way !== '..' && !way.startsWith('../')) {
    throw new UsageError(
      `${directory} is inside the data directory ${dataDir}. Choose a directory elsewhere`,
    );
  }
}

/** Resolves symbolic links in the part of the path that exists. */
function realPath(path: string): string {
  const parent = dirname(path);
  if (existsSync(path) || parent === path) return realpathSync(path);
  return join(realPath(parent), relative(parent, path));
}

/**
 * @throws {UsageError} if source and target are the same, the source is ambiguous, or the target holds
 * an export.
 */
export function checkReplayEnds({ from, to }: Pick<ReplayOptions, 'from' | 'to'>): void {
  if (isDeepStrictEqual(withRealPath(from), withRealPath(to))) {
    throw new UsageError('--from and --to are the same; replay copies batches to another store');
  }
  const [source, target] = [from, to].map((end) => ('url' in end ? undefined : end.dataDir));
  if (source !== undefined && holdsExport(source) && holdsPipeline(source)) {
    throw new UsageError(
      `${source} holds both a data directory and an export (batches.ndjson, raw). Move the export to a directory of its own`,
    );
  }
  if (target !== undefined && holdsExport(target)) {
    throw new UsageError(
      `${target} holds an export (batches.ndjson). Give a data directory or a new directory as --to`,
    );
  }
}

function withRealPath(end: ReplayOptions['from' | 'to']): object {
  if ('url' in end || end.dataDir === undefined) return end;
  return { dataDir: realPathIfExists(end.dataDir) };
}
