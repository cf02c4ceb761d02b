import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { compress, decompress, nameOf } from './archive-objects.ts';
import { listNumbered, readObject } from './read-archive.ts';
import type { ObjectStore } from './stores/object-store.ts';

/**
 * Ships `tokens.json`, which has only hashes of tokens, whenever it has changed, so that a restored
 * server accepts the same tokens.
 */
export class TokenShipper {
  readonly #path: string;
  #shipped: string | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  areChanged(): boolean {
    const content = this.#read();
    return content !== undefined && hashOf(content) !== this.#shipped;
  }

  /** Safe to repeat. Removes the earlier copies. */
  async ship(store: ObjectStore, logId: string): Promise<void> {
    const content = this.#read();
    if (content === undefined) return;
    const earlier = await listNumbered(store, logId, 'tokens');
    const last = earlier.at(-1);
    const known = last && (await store.get(last.name));
    if (known === undefined || !decompress(known).equals(content)) {
      const name = nameOf('tokens', logId, (last?.number ?? 0) + 1);
      const created = await store.create(name, compress(content));
      if (created === 'exists') throw new Error(`${name} has just been created`);
      for (const one of earlier) await store.remove(one.name);
    }
    this.#shipped = hashOf(content);
  }

  #read(): Buffer | undefined {
    try {
      return readFileSync(this.#path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }
}

/** The archived `tokens.json`; undefined if there is none. @throws if it was replaced meanwhile. */
export async function archivedTokens(
  store: ObjectStore,
  logId: string,
): Promise<Buffer | undefined> {
  const listed = (await listNumbered(store, logId, 'tokens')).at(-1);
  if (listed === undefined) return undefined;
  let { name } = listed;
  let last = await store.get(name);
  // By number, because a listing may be out of date.
  for (let number = listed.number + 1; ; number++) {
    const next = nameOf('tokens', logId, number);
    const later = await store.get(next);
    if (later === undefined) break;
    [name, last] = [next, later];
  }
  // Without tokens, the restored server would be open to everyone.
  if (last === undefined) {
    throw new Error(`The tokens in ${store.url} were replaced meanwhile. Run the command again.`);
  }
  return readObject(store, name, last);
}

function hashOf(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}
