import { existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

import { dataPaths } from '../../engines/embedded/data-directory.ts';
import { UsageError } from './option-parsers.ts';
import type { ReplayOptions } from '../replay/replay-options.ts';

/** What `raw export` writes last: which batches there are. */
export function exportListOf(directory: string): string {
  return join(directory, 'batches.ndjson');
}

export function holdsExport(directory: string): boolean {
  return existsSync(exportListOf(directory));
}

/** The path without symbolic links, as far as it is there. */
function realPathIfExists(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    // The error surfaces where the file is opened.
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return resolve(path);
  }
}

function holdsPipeline(directory: string): boolean {
  const { log, database } = dataPaths(directory);
  return existsSync(log) || existsSync(database);
}

/** @throws {UsageError} where an export would lie beside a log: which is meant could not be told. */
export function checkExportDirectory(directory: string): void {
  if (!holdsPipeline(directory)) return;
  throw new UsageError(
    `${directory} is a data directory. Name another one for the export, a new one for instance`,
  );
}

/** @throws {UsageError} where a backup would be mixed with other files, or be part of what it copies. */
export function checkBackupDirectory(dataDir: string, directory: string): void {
  const path = resolve(directory);
  const stats = statSync(path, { throwIfNoEntry: false });
  // A file system of its own has that.
  const isEmpty = () => readdirSync(path).every((name) => name === 'lost+found');
  if (stats !== undefined && !(stats.isDirectory() && isEmpty())) {
    const what = stats.isDirectory() ? 'is not empty' : 'is a file';
    throw new UsageError(`${directory} ${what}. Name a new directory for the backup`);
  }
  const way = relative(realPath(resolve(dataDir)), realPath(path));
  if (way !== '..' && !way.startsWith('../')) {
    throw new UsageError(`${directory} lies in the data directory ${dataDir}. Name one elsewhere`);
  }
}

/** Without symbolic links, as far as it is there. */
function realPath(path: string): string {
  const parent = dirname(path);
  if (existsSync(path) || parent === path) return realpathSync(path);
  return join(realPath(parent), relative(parent, path));
}

/**
 * @throws {UsageError} where it is not clear what is to be read, an export would be written into, or
 * both ends are the same.
 */
export function checkReplayEnds({ from, to }: Pick<ReplayOptions, 'from' | 'to'>): void {
  const isSameStack = from.kind === 'stack' && to.kind === 'stack' && from.name === to.name;
  const isSameDirectory =
    from.kind === 'directory' &&
    to.kind === 'directory' &&
    realPathIfExists(from.path) === realPathIfExists(to.path);
  if (isSameStack || isSameDirectory) {
    throw new UsageError('--from and --to are the same; replay brings batches into another place');
  }
  if (from.kind === 'directory' && holdsExport(from.path) && holdsPipeline(from.path)) {
    throw new UsageError(
      `${from.path} holds both a data directory and an export (batches.ndjson, raw). Move the export elsewhere and say which is meant`,
    );
  }
  if (to.kind === 'directory' && holdsExport(to.path)) {
    throw new UsageError(
      `${to.path} holds an export (batches.ndjson). Name a data directory, or a new one`,
    );
  }
}
