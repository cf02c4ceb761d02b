import { randomUUID } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { link, mkdir, open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { codeOf, explainFileError } from './file-failures.ts';
import { isObjectName } from './object-name.ts';
import { ArchiveUnusable, type ObjectStore, type StoredObject } from './object-store.ts';

/** The first character of the names of temporary files. No object's name contains it. */
const temporaryMark = '~';

/** No attempt takes as long. */
const temporaryAgeMsMax = 86_400_000;

/**
 * Objects as files below a directory, on a file system with hard links. The directory must exist:
 * if its disk is not mounted, the archive must not fill the disk below the mount point.
 *
 * A process that is killed in `create` leaves a temporary file (`~…`) beside the object. The first
 * `create` of another process in that directory removes those that are older than a day.
 *
 * Only the file system bounds the time that an attempt takes: a network file system that is mounted
 * "hard" waits for its server.
 */
export class FileObjectStore implements ObjectStore {
  readonly url: string;
  readonly #root: string;
  /** The directories whose own entries this process has made durable. */
  readonly #prepared = new Set<string>();

  /** @param root an absolute path without a slash at its end. */
  constructor(url: string, root: string) {
    this.url = url;
    this.#root = root;
  }

  create(name: string, bytes: Uint8Array): Promise<'created' | 'exists'> {
    return this.#attempt(async () => {
      const path = this.#pathOf(name);
      const directory = dirname(path);
      await this.#prepare(directory);
      const temporary = join(directory, `${temporaryMark}${randomUUID()}`);
      const outcome = await writeOnce(temporary, path, bytes);
      // Even if the name is taken: an earlier attempt may have ended before this.
      await syncDirectory(directory);
      return outcome;
    });
  }

  get(name: string): Promise<Uint8Array | undefined> {
    return this.#attempt(async () => {
      try {
        return await readFile(this.#pathOf(name));
      } catch (error) {
        if (!isAbsence(error)) throw error;
        await this.#requireRoot();
        return undefined;
      }
    });
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    try {
      await this.#requireRoot();
      const directory = prefix.slice(0, prefix.lastIndexOf('/') + 1);
      if (directory !== '' && !isObjectName(directory.slice(0, -1))) return;
      yield* this.#listBelow(directory, prefix);
    } catch (error) {
      throw explainFileError(error, this.#root);
    }
  }

  remove(name: string): Promise<void> {
    return this.#attempt(async () => {
      const path = this.#pathOf(name);
      await this.#requireRoot();
      await rm(path, { force: true });
    });
  }

  close(): void {
    // No file stays open between calls.
  }

  /** @param directory the prefix of the objects' names: empty, or with a slash at its end. */
  async *#listBelow(directory: string, prefix: string): AsyncGenerator<StoredObject> {
    const path = join(this.#root, directory);
    const entries = (await ifPresent(readdir(path, { withFileTypes: true }))) ?? [];
    for (const [name, isDirectory] of inOrder(entries)) {
      const whole = directory + name;
      if (isDirectory) {
        const mayHold = whole.startsWith(prefix) || prefix.startsWith(whole);
        if (mayHold) yield* this.#listBelow(whole, prefix);
      } else if (whole.startsWith(prefix)) {
        const found = await ifPresent(stat(join(path, name)));
        if (found !== undefined) yield { name: whole, bytes: found.size };
      }
    }
  }

  #pathOf(name: string): string {
    if (!isObjectName(name)) throw new Error(`Not a name of an object: ${name}`);
    return join(this.#root, name);
  }

  /** Creates the directory and its parents below the root, durably. */
  async #prepare(directory: string): Promise<void> {
    if (directory === this.#root) await this.#requireRoot();
    else {
      await this.#prepare(dirname(directory));
      const isNew = await createDirectory(directory);
      if (!isNew && this.#prepared.has(directory)) return;
      // Even if it exists: the process that created it may have ended before this.
      await syncDirectory(dirname(directory));
    }
    if (this.#prepared.has(directory)) return;
    await removeOldTemporaries(directory);
    this.#prepared.add(directory);
  }

  async #requireRoot(): Promise<void> {
    if ((await ifPresent(stat(this.#root))) !== undefined) return;
    throw new ArchiveUnusable(
      `There is no directory ${this.#root}. Mount its disk, or create the directory; an archive does not create it itself.`,
    );
  }

  async #attempt<T>(operation: () => Promise<T>): Promise<T> {
    try {
      return await operation();
    } catch (error) {
      throw explainFileError(error, this.#root);
    }
  }
}

/**
 * The entries in the order of the names below them, directories with a slash at the end of the name.
 * All names are ASCII, so the order of strings is that of bytes.
 */
function inOrder(entries: readonly Dirent[]): [name: string, isDirectory: boolean][] {
  const named: [string, boolean][] = [];
  for (const entry of entries) {
    if (!isObjectName(entry.name)) continue;
    if (entry.isDirectory()) named.push([`${entry.name}/`, true]);
    else if (entry.isFile()) named.push([entry.name, false]);
  }
  return named.sort(([one], [other]) => (one < other ? -1 : 1));
}

async function writeOnce(
  temporary: string,
  path: string,
  bytes: Uint8Array,
): Promise<'created' | 'exists'> {
  try {
    await writeDurably(temporary, bytes);
    // Unlike a rename, a link does not replace a file.
    await link(temporary, path);
    return 'created';
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return 'exists';
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx', 0o640);
  try {
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Returns whether this call created it. */
async function createDirectory(directory: string): Promise<boolean> {
  try {
    await mkdir(directory, 0o750);
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

async function removeOldTemporaries(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (!name.startsWith(temporaryMark)) continue;
    const path = join(directory, name);
    const found = await ifPresent(stat(path));
    if (found === undefined || Date.now() - found.mtimeMs < temporaryAgeMsMax) continue;
    await rm(path, { force: true });
  }
}

/** Undefined if there is no such file, such as one that was removed meanwhile. */
async function ifPresent<T>(result: Promise<T>): Promise<T | undefined> {
  try {
    return await result;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Whether there is no file, or a directory in its place. */
function isAbsence(error: unknown): boolean {
  return codeOf(error) === 'ENOENT' || codeOf(error) === 'EISDIR';
}
