import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Creates a directory and its parents if they are missing. Not mkdir's `recursive`, which never
 * returns if a parent exists and accepts no entries (/proc).
 * @param mode of new directories, less the umask
 * @param onMade is called with the parent of each new directory
 * @throws the file system's error
 */
export function makeDirectories(
  path: string,
  mode: number,
  onMade: (parent: string) => void = () => undefined,
): void {
  if (isDirectory(path)) return;
  makeDirectories(dirname(path), mode, onMade);
  make(path, mode);
  onMade(dirname(path));
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function make(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Another process may have created it meanwhile.
    if (code === 'EEXIST' && isDirectory(path)) return;
    if (code !== 'ENOENT') throw error;
    const message = `cannot create ${path}: ${dirname(path)} does not allow new directories`;
    throw Object.assign(new Error(message, { cause: error }), { code });
  }
}
