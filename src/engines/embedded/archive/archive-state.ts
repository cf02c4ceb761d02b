import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

import type { DataPaths } from '../data-directory.ts';
import { nodeFileSystem } from '../log/file-system.ts';
import { writeDurably } from '../tokens/token-marker.ts';

/**
 * A data directory's record of its archive: the ids of the claims after which it may continue
 * writing. The last claim in the archive must be one of them; otherwise another server has taken
 * over.
 */
export interface ArchiveState {
  readonly claims: readonly string[];
}

export function archiveStatePath({ root }: Pick<DataPaths, 'root'>): string {
  return join(root, 'archive.json');
}

/** @returns undefined if the directory was never archived. @throws if the file cannot be read. */
export function readArchiveState(path: string): ArchiveState | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { claims } = JSON.parse(text) as { claims: unknown };
    if (Array.isArray(claims)) return { claims: claims.map(String) };
  } catch {
    // The error below says what to do.
  }
  throw new Error(
    `${path} is damaged. Remove it, and archive to another prefix, or restore the data directory from its archive.`,
  );
}

/** Replaces the state durably. */
export function writeArchiveState(path: string, state: ArchiveState): void {
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  try {
    writeDurably(temporary, `${JSON.stringify(state)}\n`, { flag: 'wx', mode: 0o640 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
  nodeFileSystem.syncDirectory(dirname(path));
}
