import { writeSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

import { codeOf } from '../../../src/engines/embedded/archive/stores/file-failures.ts';
import { openObjectStore } from '../../../src/engines/embedded/archive/stores/open-object-store.ts';

/** In bytes. Takes many writes. */
export const objectBytes = 16 * 2 ** 20;

/** The bytes of the object with this number. */
export function bytesOf(number: number): Buffer {
  return Buffer.alloc(objectBytes, number % 251);
}

/**
 * Creates objects `<prefix>/0`, `<prefix>/1`, … in a directory until it is killed. Prints each name
 * once it is acknowledged, or the code of the error that ends it.
 */
async function createObjects(directory: string, prefix: string): Promise<void> {
  const store = await openObjectStore(pathToFileURL(directory).href);
  try {
    for (let number = 0; ; number++) {
      const name = `${prefix}/${number}`;
      await store.create(name, bytesOf(number));
      writeSync(1, `${name}\n`);
    }
  } catch (error) {
    writeSync(1, `${codeOf(error) ?? String(error)}\n`);
  }
}

if (import.meta.main) {
  const [, , directory = '', prefix = ''] = process.argv;
  await createObjects(directory, prefix);
}
