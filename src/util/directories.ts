import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** Only the owner writes; the group may read, as operators' groups do. */
const mode = 0o750;

/**
 * Creates a directory and its parents if they are missing. Not mkdir's `recursive`, which never
 * returns if a parent exists and accepts no entries (/proc).
 * @param onMade is called with the parent of each new directory
 * @throws the file system's error
 */
export function makeDirectories(
  path: string,
  onMade: (parent: string) => void = () => undefined,
): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return;
  makeDirectories(dirname(path), onMade);
  make(path);
  onMade(dirname(path));
}

function make(path: string): void {
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'ENOENT') throw error;
    const message = `${dirname(path)} accepts no directories, so ${path} cannot be made`;
    throw Object.assign(new Error(message, { cause: error }), { code });
  }
}
